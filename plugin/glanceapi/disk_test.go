package glanceapi_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// volume makes a volume of an image, and returns the file that it was copied from.
func (f *front) volume(t *testing.T, id string) string {
	t.Helper()
	_, err := f.cache.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "glance:" + id, Volume: "v1"})
	must(t, err)
	return f.dir + "/files/image-volumes/" + f.wantEntries(t, 1)[0].ImageVolume
}

// The image that a volume was made of is downloaded without another read from Glance, by who may download it.
func TestAVolumesImageIsDownloadedWithoutAnotherRead(t *testing.T) {
	f := newFront(t, keeping)
	f.volume(t, plainImage)
	if answer, _ := f.download(t, "reader", plainImage); answer.StatusCode != 403 {
		t.Errorf("who may not download it: %d", answer.StatusCode)
	}
	for range 2 {
		answer, body := f.download(t, "demo", plainImage)
		f.wantImage(t, answer, body, plainImage)
	}
	if f.glance.downloads() != 1 {
		t.Errorf("%d downloads from Glance, want the volume's", f.glance.downloads())
	}
}

// Nobody gets to the end of an image that a damaged image-volume gave, and the next one gets it from Glance.
func TestADamagedVolumesImageIsNotDownloadedToItsEnd(t *testing.T) {
	f := newFront(t, keeping)
	file := f.volume(t, plainImage)
	must(t, os.Chmod(file, 0o600))
	h, err := os.OpenFile(file, os.O_WRONLY, 0)
	must(t, err)
	_, err = h.WriteAt([]byte("damaged"), 5000)
	must(t, err)
	must(t, h.Close())
	data := f.glance.images[plainImage].data
	r, err := http.NewRequestWithContext(t.Context(), "GET", f.URL+"/v2/images/"+plainImage+"/file", http.NoBody)
	must(t, err)
	r.Header.Set("X-Auth-Token", "demo")
	answer, err := f.Client().Do(r)
	must(t, err)
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err == nil && !bytes.Equal(body, data) {
		t.Errorf("got %d bytes to their end that are not the image's", len(body))
	}
	answer, body := f.download(t, "demo", plainImage)
	defer answer.Body.Close()
	f.wantImage(t, answer, body, plainImage)
	until(t, "the damaged one is in quarantine", func() bool {
		all, err := f.cache.Entries(t.Context(), plugin.EntryFilter{Backend: "files", State: "all"})
		return err == nil && slices.ContainsFunc(all, func(e plugin.EntryView) bool { return e.QuarantinedAt != nil && e.Form == string(backends.Decoded) })
	})
}
