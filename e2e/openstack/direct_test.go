//go:build openstack

package openstack

import (
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// A raw image that Glance keeps in the volumes' own cluster, and shows where, is cloned where it lies: nothing
// is downloaded, cached or charged. Any other image there is cached as always.
func TestImagesInTheVolumesClusterAreClonedWhereTheyLie(t *testing.T) {
	defer func() {
		t.Setenv("GLANCE_STORE", "file")
		lab.set(t, "DIRECT_URL=0", "glance")
	}()
	t.Setenv("GLANCE_STORE", "rbd")
	lab.set(t, "DIRECT_URL=1", "glance")
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 31, 16*mib, 8*mib)
	raw, qcow2 := w.upload(t, d.path, "raw", nil), w.upload(t, d.qcow2(t), "qcow2", nil)
	log := lab.logged(t, "glance")

	first := w.demo.make(t, wanted{Image: raw, Type: "rbd1"})
	larger := w.demo.make(t, wanted{Image: raw, Type: "rbd1", Size: 2})
	if info := rbd(t, "info", "volumes/volume-"+larger.ID); !strings.Contains(info, "parent: images/"+raw+"@snap") {
		t.Errorf("the volume is not a clone of Glance's own image:\n%s", info)
	}
	if n := downloads(log(), raw); n != 0 {
		t.Errorf("the image was downloaded %d times", n)
	}
	if q := w.quota(t); q != (used{}) {
		t.Errorf("the internal tenant is charged %+v", q)
	}
	decoded := w.demo.make(t, wanted{Image: qcow2, Type: "rbd1"})
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Direct: 2, plugin.Filled: 1})
	sameContent(t, d, first, larger, decoded)
}
