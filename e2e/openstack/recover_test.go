//go:build openstack

package openstack

import (
	"os"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// A daemon that lost its catalog finds the image-volumes again, with the Cinder volumes that they are.
func TestALostCatalogIsRebuilt(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 40, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", nil)
	first := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	w.daemon.Stop(t)
	if err := os.RemoveAll(w.daemon.State); err != nil {
		t.Fatal(err)
	}
	w.sameInstallation(t) // all else is lost
	w.daemon.Start(t)
	second := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Hit: 1})
	sameContent(t, d, first, second)
	kept := w.internal.volumes(t)
	if len(kept) != 1 || kept[0].Status != "attaching" || w.quota(t) != (used{1, 1}) {
		t.Errorf("the internal tenant: got volumes %+v and %+v in use, want the one image-volume, reserved", kept, w.quota(t))
	}
	if c := w.daemon.Check(t); !c.OK {
		t.Errorf("check found problems: %+v", c.Problems)
	}
}
