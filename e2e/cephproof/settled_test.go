//go:build ceph

package cephproof

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// patience is how long the OSDs may take until they have missed a client that was killed, and the daemon
// until it has ended what that client left.
const patience = 3 * time.Minute

// settled waits until nothing is left over of what a killed daemon or a cluster without answers
// interrupted, with the daemon's own means, and fails with what is wrong where that never comes.
func (s *site) settled(tb testing.TB, d *harness.Daemon) {
	tb.Helper()
	client := d.Client(tb)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var wrong []string
	for began := time.Now(); time.Since(began) < patience; <-tick.C {
		if _, err := client.Clean(tb.Context()); err != nil {
			wrong = []string{fmt.Sprintf("clean: %v", err)}
			continue
		}
		if wrong = s.wrong(tb, d); len(wrong) == 0 {
			return
		}
	}
	tb.Errorf("after %v:\n\t%s", patience, strings.Join(wrong, "\n\t"))
}

// wrong is all that an idle daemon and its pools disagree about, and all that is left over.
func (s *site) wrong(tb testing.TB, d *harness.Daemon) []string {
	tb.Helper()
	volumes, images := look(tb, s.volumes), look(tb, s.images)
	var wrong []string
	for _, v := range volumes {
		if why := wrongVolume(v, images); why != "" {
			wrong = append(wrong, fmt.Sprintf("volume %s (%s): %s", v.name, v.id, why))
		}
	}
	for _, i := range images {
		if why := wrongImageVolume(i, volumes); why != "" {
			wrong = append(wrong, fmt.Sprintf("image %s (%s): %s", i.name, i.id, why))
		}
	}
	wrong = append(wrong, s.strayObjects(tb, volumes, images)...)
	return append(wrong, s.wrongAccounts(tb, d, images)...)
}

// wrongVolume: each volume is whole, and either a clone that its parent lists, or a copy.
func wrongVolume(v image, images map[string]image) string {
	switch {
	case v.broken != nil:
		return v.broken.Error()
	case v.trashed:
		return "it is in the trash"
	case v.volume.State != "whole":
		return fmt.Sprintf("its record says %q", v.volume.State)
	case v.size != v.volume.SizeBytes:
		return fmt.Sprintf("it has %d bytes, its record says %d", v.size, v.volume.SizeBytes)
	case len(v.snapshots) > 0:
		return fmt.Sprintf("it has snapshots %q", v.snapshots)
	case v.volume.Origin.Store != "ceph":
		return ""
	}
	parent, there := images[v.parent]
	switch {
	case v.parent == "":
		return "it has no parent"
	case !there:
		return "its parent " + v.parent + " is not there"
	case !slices.Contains(parent.children, v.id):
		return "its parent does not list it"
	}
	return ""
}

// wrongImageVolume: each image-volume has its one snapshot, or is detached and has clones that exist.
func wrongImageVolume(i image, volumes map[string]image) string {
	if i.broken != nil {
		return i.broken.Error()
	}
	for _, c := range i.children {
		if _, there := volumes[c]; !there {
			return "it lists the clone " + c + ", which is not there"
		}
	}
	switch {
	case i.imageVolume.ID == "":
		return "it is none of ours"
	case i.trashed && len(i.children) == 0:
		return "it is in the trash without clones"
	case !i.trashed && !slices.Equal(i.snapshots, []string{"clonecache"}):
		return fmt.Sprintf("its snapshots are %q", i.snapshots)
	}
	return ""
}

// strayObjects: each object of the namespace belongs to RBD's own bookkeeping, to our index, or to an
// image that is there.
func (s *site) strayObjects(tb testing.TB, volumes, images map[string]image) []string {
	tb.Helper()
	var stray []string
	for _, part := range []struct {
		pool pool
		has  map[string]image
	}{{s.volumes, volumes}, {s.images, images}} {
		err := part.pool.ListObjects(func(object string) {
			if !belongs(object, part.has) {
				stray = append(stray, fmt.Sprintf("object %s in pool %s belongs to nothing", object, part.pool.name))
			}
		})
		if err != nil && !errors.Is(err, rados.ErrNotFound) {
			tb.Fatal(err)
		}
	}
	return stray
}

// bookkeeping are the objects of a pool that belong to no single image.
var bookkeeping = []string{"rbd_directory", "rbd_info", "rbd_trash", "rbd_children", "clonecache.index", "clonecache.holder"}

func belongs(object string, images map[string]image) bool {
	if slices.Contains(bookkeeping, object) {
		return true
	}
	if name, ok := strings.CutPrefix(object, "rbd_id."); ok {
		for _, i := range images {
			if i.name == name && !i.trashed {
				return true
			}
		}
		return false
	}
	for _, prefix := range []string{"rbd_header.", "rbd_object_map.", "rbd_data."} {
		if rest, ok := strings.CutPrefix(object, prefix); ok {
			id, _, _ := strings.Cut(rest, ".")
			_, there := images[id]
			return there
		}
	}
	return false
}

// wrongAccounts: catalog, index, quota and the daemon's own check name what is there, and nothing else.
func (s *site) wrongAccounts(tb testing.TB, d *harness.Daemon, images map[string]image) []string {
	tb.Helper()
	var held, named, wrong []string
	for _, i := range images {
		held = append(held, fmt.Sprintf("%s, detached %t", i.imageVolume.ID, i.trashed))
	}
	var volumes, gigabytes int64
	for _, e := range d.Entries(tb) {
		if e.State != "ready" && e.State != "detached" {
			wrong = append(wrong, fmt.Sprintf("entry %s is %s", e.ID, e.State))
		}
		switch e.Backend {
		case "ceph":
			named = append(named, fmt.Sprintf("%s, detached %t", e.ImageVolume, e.State == "detached"))
		case "files": // the file cache, which no quota counts
			continue
		}
		volumes++
		gigabytes += (e.VirtualBytes + gib - 1) / gib
	}
	slices.Sort(held)
	slices.Sort(named)
	if !slices.Equal(held, named) {
		wrong = append(wrong, fmt.Sprintf("image-volumes in the pool: %q, in the catalog: %q", held, named))
	}
	if got := s.indexed(tb); len(got) != len(held) {
		wrong = append(wrong, fmt.Sprintf("the index names %q, there are %q", got, held))
	}
	q := d.Quota(tb)
	if want := (plugin.QuotaAmounts{Limit: q.Volumes.Limit, Unlimited: q.Volumes.Unlimited, InUse: volumes, Actual: volumes, Catalog: volumes}); q.Volumes != want {
		wrong = append(wrong, fmt.Sprintf("quota of volumes: got %+v, want %+v", q.Volumes, want))
	}
	if want := (plugin.QuotaAmounts{Limit: q.Gigabytes.Limit, Unlimited: q.Gigabytes.Unlimited, InUse: gigabytes, Actual: gigabytes, Catalog: gigabytes}); q.Gigabytes != want {
		wrong = append(wrong, fmt.Sprintf("quota of gigabytes: got %+v, want %+v", q.Gigabytes, want))
	}
	if c := d.Check(tb); len(harness.Wrong(c)) > 0 {
		wrong = append(wrong, fmt.Sprintf("check found problems: %+v", c.Problems))
	}
	return wrong
}
