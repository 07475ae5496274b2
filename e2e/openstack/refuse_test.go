//go:build openstack

package openstack

import (
	"net/http"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// A hit is authorised like a miss: what Cinder refuses of an image it refuses of a cached one, and nothing is
// asked of the daemon. A changed property changes neither the content nor the entry.
func TestACachedImageIsRefusedAsCinderRefuses(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 5, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", object{"visibility": "private"})
	w.demo.make(t, wanted{Image: image, Type: "rbd1"})

	w.demo.must(t, call{"PATCH", glanceURL("/" + image), []object{{"op": "add", "path": "/os_distro", "value": "later"}}}, nil)
	v := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	if v.Image["os_distro"] != "later" {
		t.Errorf("the second volume's image metadata: got %v, want the changed property", v.Image)
	}
	want := map[plugin.Outcome]int64{plugin.Filled: 1, plugin.Hit: 1}
	w.wantOutcomes(t, "rbd1", want)

	refused := func(by *cloud, why string) {
		t.Helper()
		status, text, _ := by.try(t, call{"POST", by.cinderURL("/volumes"), wanted{Image: image, Type: "rbd1"}.body(t)}, nil)
		if status != http.StatusBadRequest {
			t.Errorf("a volume of %s image: got %d %s, want 400", why, status, text)
		}
	}
	refused(w.other, "another project's")
	w.demo.must(t, call{"POST", glanceURL("/" + image + "/actions/deactivate"), nil}, nil)
	refused(w.demo, "a deactivated")
	w.demo.must(t, call{"POST", glanceURL("/" + image + "/actions/reactivate"), nil}, nil)
	w.demo.must(t, call{"DELETE", glanceURL("/" + image), nil}, nil)
	refused(w.demo, "a deleted")
	w.wantOutcomes(t, "rbd1", want)
}

// Two images of equal data are one image-volume, once each was read: what it claims to be opens nothing.
func TestEqualDataIsCachedOnce(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 6, 16*mib, 8*mib)
	log := lab.logged(t, "glance")
	one, two := w.upload(t, d.path, "raw", nil), w.upload(t, d.path, "raw", nil)
	first := w.demo.make(t, wanted{Image: one, Type: "rbd1"})
	second := w.demo.make(t, wanted{Image: two, Type: "rbd1"})
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 2})
	sameContent(t, d, first, second)
	wantDownloads(t, "the second image", func() int { return downloads(log(), two) }, 1)
	w.untilInUse(t, used{1, 1})
	if second.Image["image_id"] != two {
		t.Errorf("the second volume's image: got %s, want %s", second.Image["image_id"], two)
	}
}
