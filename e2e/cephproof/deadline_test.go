//go:build ceph

package cephproof

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// testDeadline: clones that the OSD did not answer before their deadline do not turn up afterwards, and a
// volume that somebody else has made by one of their names meanwhile stays as it is.
func testDeadline(t *testing.T, on *harness.Cluster) {
	r := newRig(t, on, longCallTimeout)
	const (
		clones   = 4
		deadline = 4 * time.Second
		patience = 26 * time.Second // the backend cleans up for 2 s before it gives up; without a deadline it would take longCallTimeout
	)
	on.Do(t, "osd-stop")
	up := sync.OnceFunc(func() { on.Do(t, "osd-start") })
	defer up()
	began := time.Now()
	var asking sync.WaitGroup
	for n := range clones {
		asking.Go(func() {
			a, err := r.client.CreateVolume(t.Context(), api.CreateRequest{
				Backend: "ceph", Image: "web:" + cached, Volume: backends.VolumeName(fmt.Sprintf("late-%d", n)), SizeBytes: volumeSize,
				Deadline: began.Add(deadline),
			}, nil)
			if err != nil || a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonDeadline {
				t.Errorf("late-%d: got %s, %s, %v, want it bypassed: deadline", n, a.Outcome, a.Reason, err)
			}
			if took := time.Since(began); took > deadline+patience {
				t.Errorf("late-%d: answered after %v, its deadline was %v", n, took, deadline)
			}
		})
	}
	asking.Wait()
	if left := deadline + time.Second - time.Since(began); left > 0 {
		<-time.After(left)
	}
	up()
	const taken = "late-0"
	theirs := bytes.Repeat([]byte("theirs"), 1000)
	r.makeForeign(t, taken, theirs)
	r.settledBut(t, taken)
	if open, err := rbd.OpenImageReadOnly(r.volumes.IOContext, taken, rbd.NoSnapshot); err != nil {
		t.Errorf("somebody else's volume: %v", err)
	} else {
		got := make([]byte, len(theirs))
		if _, err := open.ReadAt(got, 0); err != nil || !bytes.Equal(got, theirs) {
			t.Errorf("somebody else's volume was changed (%v)", err)
		}
		if err := errors.Join(open.Close(), rbd.RemoveImage(r.volumes.IOContext, taken)); err != nil {
			t.Error(err)
		}
	}
	r.settled(t, r.Daemon)
	r.allThere(t)
}

// makeForeign makes a volume as others do, as soon as its name is free.
func (r *rig) makeForeign(t *testing.T, name string, data []byte) {
	t.Helper()
	harness.Until(t, "the name "+name+" is free", func() bool {
		o := rbd.NewRbdImageOptions()
		defer o.Destroy()
		err := rbd.CreateImage(r.volumes.IOContext, name, volumeSize, o)
		if err != nil && !errors.Is(err, rbd.ErrExist) {
			t.Fatal(err)
		}
		return err == nil
	})
	open, err := rbd.OpenImage(r.volumes.IOContext, name, rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	_, err = open.WriteAt(data, 0)
	if err := errors.Join(err, open.Close()); err != nil {
		t.Fatal(err)
	}
}

// settledBut waits until the pool has the volumes that were answered and a foreign one, and no others.
func (r *rig) settledBut(t *testing.T, foreign string) {
	t.Helper()
	harness.Until(t, "late volumes are gone", func() bool {
		return len(r.names(t)) == len(r.made["ceph"])+1
	})
	for range 2 { // and its daemon has looked at the name for a last time
		if _, err := r.client.Clean(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
