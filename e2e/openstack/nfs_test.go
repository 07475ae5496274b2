//go:build openstack

package openstack

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// On Cinder's NFS driver the first volume fills the cache, and on a share with reflinks the second shares its
// extents; elsewhere volumes are copied from the file cache, downloaded once.
func TestVolumesOnNFS(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 30, 64*mib, 32*mib)
	image := w.upload(t, d.qcow2(t), "qcow2", nil)
	log := lab.logged(t, "glance")
	for share, want := range map[string]map[plugin.Outcome]int64{
		"nfs1": {plugin.Filled: 1, plugin.Hit: 1},
		"nfs2": {plugin.Copied: 2},
	} {
		first := w.demo.make(t, wanted{Image: image, Type: share})
		second := w.demo.make(t, wanted{Image: image, Type: share})
		w.wantOutcomes(t, share, want)
		for _, v := range []volume{first, second} {
			if got := fileSum(t, volumeOn(share, v), d.size); got != d.sum {
				t.Errorf("volume %s on %s: got SHA-256 %s, want %s", v.ID, share, got, d.sum)
			}
			if v.Bootable != "true" {
				t.Errorf("volume %s on %s: got bootable %s", v.ID, share, v.Bootable)
			}
		}
		if share == "nfs1" {
			wantShared(t, imageVolumeOn(t, share), volumeOn(share, first), volumeOn(share, second))
		} else if shared, all := sharedBlocks(t, volumeOn(share, first), volumeOn(share, second)); shared != 0 || all == 0 {
			t.Errorf("two copies on %s: got %d of %d blocks in common, want none", share, shared, all)
		}
		w.demo.action(t, second.ID, "os-extend", object{"new_size": 2})
		within(t, "the volume is extended", func() bool { return w.demo.available(t, second.ID).Size == 2 })
	}
	wantDownloads(t, "the image, for the image-volume and for the file cache", func() int { return downloads(log(), image) }, 2)
}

func volumeOn(share string, v volume) string { return filepath.Join(mounted(share), "volume-"+v.ID) }

// imageVolumeOn is the only one on a share.
func imageVolumeOn(t *testing.T, share string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(mounted(share), ".clonecache", "image-volumes", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("image-volumes on %s: got %q, %v, want one", share, found, err)
	}
	return found[0]
}

// wantShared checks that volumes have all their data where the image-volume has it.
func wantShared(t *testing.T, imageVolume string, volumes ...string) {
	t.Helper()
	for _, v := range volumes {
		if shared, all := sharedBlocks(t, imageVolume, v); shared != all || all == 0 {
			t.Errorf("%s has %d of the %d blocks of the image-volume, want all", v, shared, all)
		}
	}
}
