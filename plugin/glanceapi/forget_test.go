package glanceapi_test

import (
	"strings"
	"testing"
)

// An image's data leaves the file cache with the image, once Glance has deleted that: not where it refuses to, and not what
// is pinned.
func TestTheDataOfADeletedImageLeavesTheCache(t *testing.T) {
	f := newFront(t, keeping)
	for _, id := range []string{plainImage, privateImage} {
		f.keep(t, "admin", id)
	}
	f.delete(t, "other", privateImage, 404)
	f.delete(t, "demo", plainImage, 403)
	f.wantEntries(t, 2)
	f.delete(t, "demo", privateImage, 204)
	left := f.wantEntries(t, 1)
	_, err := f.cache.SetPinned(t.Context(), left[0].ID, true)
	must(t, err)
	f.delete(t, "admin", plainImage, 204)
	f.wantEntries(t, 1)
}

// A Glance on MariaDB finds an image by its ID in upper case too; what is cached of it is under the ID as Glance writes it.
func TestAnImageThatIsNamedInUpperCaseLeavesTheCache(t *testing.T) {
	f := newFront(t, keeping)
	upper := strings.ToUpper(privateImage)
	f.glance.set(func() { f.glance.images[upper] = f.glance.images[privateImage] })
	f.keep(t, "admin", privateImage)
	f.keep(t, "admin", plainImage)
	f.delete(t, "demo", upper, 204)
	f.wantEntries(t, 1)
	if answer, body := f.send(t, "admin", "DELETE", "/v2/cache/"+strings.ToUpper(plainImage)); answer.StatusCode != 204 {
		t.Errorf("delete from the cache: %d %s", answer.StatusCode, body)
	}
	f.wantEntries(t, 0)
}

// What is another image's data too stays.
func TestTheDataOfTwoImagesStaysWithOne(t *testing.T) {
	f := newFront(t, keeping)
	f.glance.set(func() { f.glance.images[otherImage] = f.glance.images[plainImage] })
	for _, id := range []string{plainImage, otherImage} {
		f.keep(t, "admin", id)
	}
	f.delete(t, "admin", plainImage, 204)
	all := f.wantEntries(t, 1)
	f.glance.set(func() { f.glance.breakAt = []int{0} }) // whoever reads Glance sees it break off
	if answer, body := f.download(t, "demo", otherImage); answer.StatusCode != 200 || string(body) != string(f.glance.images[otherImage].data) {
		t.Errorf("the other image: %d, %d bytes", answer.StatusCode, len(body))
	}
	if got := f.wantEntries(t, 1); got[0].ID != all[0].ID {
		t.Errorf("it was fetched anew: entry %s, then %s", all[0].ID, got[0].ID)
	}
}

func (f *front) delete(t *testing.T, who, id string, want int) {
	t.Helper()
	if answer, body := f.send(t, who, "DELETE", "/v2/images/"+id); answer.StatusCode != want {
		t.Errorf("%s deletes %s: %d %s, want %d", who, id, answer.StatusCode, body, want)
	}
}
