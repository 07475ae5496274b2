//go:build openstack

package openstack

import (
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// While the internal tenant's quota has no room, volumes are made without an image-volume, and the report says
// why; once it is raised, the image is cached.
func TestAFullQuotaCostsOnlyTheCache(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	w.limit(t, 0)
	defer w.limit(t, -1)
	w.wantLimit(t, 0)
	d := newDisk(t, 7, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", nil)
	without := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	if got := w.daemon.Report(t, "--backend", "rbd1").Total.Fallbacks["over_quota"]; got != 1 {
		t.Errorf("fallbacks by reason over_quota: got %d, want 1: %v", got, w.daemon.Report(t).Total.Fallbacks)
	}
	if got := w.quota(t); got != (used{}) {
		t.Errorf("the internal tenant's quota in use: got %+v, want none", got)
	}

	w.limit(t, -1)
	w.wantLimit(t, -1)
	filled := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	hit := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	got := w.outcomes(t, "rbd1")
	if got[plugin.Filled] != 1 || got[plugin.Hit] != 1 {
		t.Errorf("outcomes: got %v, want 1 filled and 1 hit after the one that fell back", got)
	}
	sameContent(t, d, without, filled, hit)
}

// wantLimit compares the limit of volumes in Cinder, as the daemon tells of it. (Of all backends together there
// is none: those on NFS are not Cinder's to count.)
func (w *world) wantLimit(t *testing.T, want int64) {
	t.Helper()
	q := w.daemon.Quota(t)
	if !q.Volumes.Unlimited {
		t.Errorf("clonecache quota, all backends: got %+v, want no limit", q.Volumes)
	}
	for _, r := range q.Resources {
		if r.Name == "volumes" {
			if r.Limit != want {
				t.Errorf("clonecache quota, volumes in Cinder: got %+v, want a limit of %d", r, want)
			}
			return
		}
	}
	t.Errorf("clonecache quota: got %+v, want Cinder's volumes among them", q.Resources)
}
