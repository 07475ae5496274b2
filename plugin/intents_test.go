package plugin_test

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
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
