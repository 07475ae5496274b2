package plugin_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/journal"
)

// What an earlier attempt left is settled before the volume is asked for again: half of it would look like
// a volume of somebody else's. While the backend cannot tell, the request steps aside.
func TestARepeatedRequestSettlesTheEarlierAttemptFirst(t *testing.T) {
	source, memory := newGatedSource(), newCapable()
	close(source.gate)
	faulty := backendtest.NewFaulty(memory)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(faulty))
	source.put("disk", "1", random(mib))
	faulty.FailBefore(backendtest.MethodDeleteVolume, 1, backends.ErrUnavailable)
	q := plugin.Request{
		Image: "gated:disk", Volume: "v1", Deadline: time.Now().Add(time.Hour),
		Deliver: func(plugin.Answer) error { return errGone },
	}
	if a, err := r.CreateVolume(t.Context(), q); err != nil || a.Reason != plugin.ReasonUndelivered {
		t.Fatalf("got %+v, %v, want it undelivered", a, err)
	}
	q.Deliver = nil
	faulty.FailBefore(backendtest.MethodSettle, 1, backends.ErrInUse)
	if a, err := r.CreateVolume(t.Context(), q); err != nil || a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonUnavailable {
		t.Errorf("while it cannot be settled: got %+v, %v, want bypassed, backend_unavailable", a, err)
	}
	if a, err := r.CreateVolume(t.Context(), q); err != nil || a.Reason != plugin.ReasonRepeated {
		t.Errorf("afterwards: got %+v, %v, want the volume that had been made", a, err)
	}
	r.reopen(t, func() {})
	if !memory.has("v1") {
		t.Error("the volume that was answered is gone after a restart")
	}
	checkClean(t, r)
}

// An image-volume that a process reaped which then died, before it removed the row, is forgotten.
func TestAnImageVolumeReapedByAProcessThatDied(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	memory := backendtest.NewMemory(backendtest.MemoryConfig{})
	r := newRig(t, t.TempDir(), lru.Bounds{MaxCount: 1}, withSource(source), withBackend(memory))
	for _, image := range []string{"a", "b"} {
		source.put(image, "1", random(mib))
		r.create(t, "gated:"+image, "v"+image, 0)
	}
	r.wantEntries(t, 2) // the first one detached
	if err := r.DeleteVolume(t.Context(), "local", "va"); err != nil {
		t.Fatal(err)
	}
	if reaped, err := memory.Reap(t.Context()); err != nil || len(reaped.ImageVolumes) != 1 {
		t.Fatalf("reap: got %+v, %v, want one", reaped, err)
	}
	if _, err := r.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantEntries(t, 1)
	if q, err := r.Quota(t.Context()); err != nil || q.Volumes.InUse != 1 || q.Volumes.Actual != 1 {
		t.Errorf("quota: got %+v, %v, want one image-volume", q, err)
	}
	checkClean(t, r)
}

// An intent is of the store whose ID it bears, whatever that is called; one of an earlier version, which bears none, is
// of the store of that name.
func TestAnIntentIsOfItsStore(t *testing.T) {
	for _, c := range []struct {
		name    string
		of      func(local backends.StoreID) (backends.StoreID, backends.Name)
		settled bool // and with that, removed
	}{
		{name: "an earlier version's, by the name", settled: true, of: func(backends.StoreID) (backends.StoreID, backends.Name) { return "", "local" }},
		{name: "by the ID, called otherwise then", settled: true, of: func(local backends.StoreID) (backends.StoreID, backends.Name) { return local, "ssd" }},
		{name: "another store's, called so then", of: func(backends.StoreID) (backends.StoreID, backends.Name) { return "another-store", "local" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
			r.image(t, "disk.raw", mib)
			r.create(t, "library:disk.raw", "v1", 0)
			views, err := r.Backends(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			v, err := r.config.Backends[0].Backend.StatVolume(t.Context(), "v1")
			if err != nil {
				t.Fatal(err)
			}
			r.reopen(t, func() { // it was made for one who had a deadline, and was not told
				j, _, err := journal.Open(journal.Config{Dir: filepath.Join(r.dir, "state", "journal")})
				if err != nil {
					t.Fatal(err)
				}
				i := journal.Intent{At: time.Now(), Op: journal.Clone, Deadline: time.Now(), Spec: backends.VolumeSpec{Name: v.Name, SizeBytes: v.SizeBytes, Token: v.Token, Origin: v.Origin}}
				i.Store, i.Backend = c.of(views[0].StoreID)
				if _, err = j.Begin(i); err == nil {
					err = j.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			if c.settled {
				r.noVolume(t, "v1")
			} else if a := r.create(t, "library:disk.raw", "v1", 0); a.Reason != plugin.ReasonRepeated {
				t.Errorf("asked for again: %+v, want the volume that is there", a)
			}
		})
	}
}
