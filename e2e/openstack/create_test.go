//go:build openstack

package openstack

import (
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// The first volume of an image fills the cache, the second is a clone; both are the image, bootable, and
// carry what Glance says of it. Raw and qcow2 images do alike, on two backends.
func TestVolumesAreTheImage(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 1, 64*mib, 24*mib)
	for _, c := range []struct{ format, path, kind string }{
		{"raw", d.path, "rbd1"},
		{"qcow2", d.qcow2(t), "rbd2"},
	} {
		t.Run(c.format, func(t *testing.T) {
			image := w.upload(t, c.path, c.format, object{"os_distro": "debian"})
			first := w.demo.make(t, wanted{Image: image, Type: c.kind})
			second := w.demo.make(t, wanted{Image: image, Type: c.kind, Size: 2})
			w.wantOutcomes(t, c.kind, map[plugin.Outcome]int64{plugin.Filled: 1, plugin.Hit: 1})
			sameContent(t, d, first, second)
			for _, v := range []volume{first, second} {
				if v.Bootable != "true" || v.Image["image_id"] != image || v.Image["os_distro"] != "debian" {
					t.Errorf("volume %s: got bootable %s and image metadata %v", v.ID, v.Bootable, v.Image)
				}
				if len(v.Metadata) != 0 {
					t.Errorf("volume %s: metadata %v is left of the wait", v.ID, v.Metadata)
				}
			}
		})
	}
	w.untilInUse(t, used{2, 2})
	for _, v := range w.internal.volumes(t) {
		if v.Status != "attaching" { // os-reserve: neither deleted nor attached by mistake
			t.Errorf("image-volume %s: got status %s, want attaching", v.ID, v.Status)
		}
	}
}

// Cinder does with such a volume what it does with any other.
func TestVolumesAreOrdinary(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 2, 32*mib, 16*mib)
	image := w.upload(t, d.path, "raw", nil)
	w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	v := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 1, plugin.Hit: 1})

	var snapshot struct{ Snapshot volume }
	w.demo.must(t, call{"POST", w.demo.cinderURL("/snapshots"), object{"snapshot": object{"volume_id": v.ID}}}, &snapshot)
	path := w.demo.cinderURL("/snapshots/" + snapshot.Snapshot.ID)
	within(t, "the snapshot is available", func() bool {
		w.demo.must(t, call{"GET", path, nil}, &snapshot)
		return snapshot.Snapshot.Status == "available"
	})
	w.demo.must(t, call{"DELETE", path, nil}, nil)
	within(t, "the snapshot is gone", func() bool {
		status, _, _ := w.demo.try(t, call{"GET", path, nil}, nil)
		return status == 404
	})

	var uploaded struct {
		Image struct {
			ID string `json:"image_id"`
		} `json:"os-volume_upload_image"`
	}
	w.demo.must(t, call{"POST", w.demo.cinderURL("/volumes/" + v.ID + "/action"), object{"os-volume_upload_image": object{
		"image_name": t.Name(), "disk_format": "qcow2", "container_format": "bare"}}}, &uploaded)
	w.images = append(w.images, uploaded.Image.ID)
	w.demo.available(t, v.ID)
	again := w.demo.make(t, wanted{Image: uploaded.Image.ID, Type: "rbd1"})
	sameContent(t, d, again)
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 2, plugin.Hit: 1})

	w.demo.action(t, v.ID, "os-extend", object{"new_size": 3})
	within(t, "the volume is extended", func() bool { return w.demo.available(t, v.ID).Size == 3 })
	sameContent(t, d, w.demo.available(t, v.ID))
}

// Twenty first volumes at once read Glance once.
func TestTwentyFirstCreatesDownloadOnce(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 3, 128*mib, 96*mib)
	image := w.upload(t, d.path, "raw", nil)
	log := lab.logged(t, "glance")
	volumes := w.demo.createAll(t, 20, wanted{Image: image, Type: "rbd1"})
	wantDownloads(t, "the image", func() int { return downloads(log(), image) }, 1)
	got := w.outcomes(t, "rbd1")
	if got[plugin.Filled] != 1 || got[plugin.Filled]+got[plugin.Joined]+got[plugin.Hit] != 20 {
		t.Errorf("outcomes: got %v, want 1 filled and 19 joined or hit", got)
	}
	sameContent(t, d, volumes...)
}

// Fifty hits at once are fifty volumes.
func TestFiftyHitsAtOnce(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 4, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", nil)
	w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	volumes := w.demo.createAll(t, 50, wanted{Image: image, Type: "rbd1"})
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 1, plugin.Hit: 50})
	sameContent(t, d, volumes...)
}
