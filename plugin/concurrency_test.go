package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

func gatedRig(t *testing.T) (*rig, *gatedSource) {
	t.Helper()
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 10}, withSource(source))
	return r, source
}

func TestOneFillServesAllFirstRequests(t *testing.T) {
	r, source := gatedRig(t)
	content := random(4 * mib)
	source.put("disk", "1", content)
	const requests = 100
	answers := make([]plugin.Answer, requests)
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() {
			answers[i] = r.create(t, "gated:disk", fmt.Sprintf("v%d", i), 0)
		})
	}
	<-source.half
	waitFor(t, func() bool { f := r.Fills(); return len(f) == 1 && f[0].Waiters == requests })
	close(source.gate)
	wg.Wait()
	outcomes := map[plugin.Outcome]int{}
	for _, a := range answers {
		outcomes[a.Outcome]++
		r.holds(t, a, content)
	}
	if outcomes[plugin.Filled] != 1 || outcomes[plugin.Joined] != requests-1 {
		t.Errorf("outcomes: got %v, want 1 filled and %d joined", outcomes, requests-1)
	}
	if got := source.opened.Load(); got != 1 {
		t.Errorf("the source was read %d times, want once", got)
	}
	checkClean(t, r)
}

func TestACallerThatLeavesDoesNotEndAFillOthersWaitFor(t *testing.T) {
	r, source := gatedRig(t)
	content := random(2 * mib)
	source.put("disk", "1", content)
	first, leave := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := r.CreateVolume(first, plugin.Request{Image: "gated:disk", Volume: "v1"})
		failed <- err
	}()
	<-source.half
	answered := make(chan plugin.Answer, 1)
	go func() { answered <- r.create(t, "gated:disk", "v2", 0) }()
	waitFor(t, func() bool { return r.Fills()[0].Waiters == 2 })
	leave()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left: got %v, want context.Canceled", err)
	}
	close(source.gate)
	a := <-answered
	if a.Outcome != plugin.Joined {
		t.Errorf("the one who stayed: got %s, want joined", a.Outcome)
	}
	r.holds(t, a, content)
	r.noVolume(t, "v1")
	checkClean(t, r)
}

func TestTheLastCallerToLeaveEndsTheFill(t *testing.T) {
	r, source := gatedRig(t)
	source.put("disk", "1", random(2*mib))
	ctx, leave := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := r.CreateVolume(ctx, plugin.Request{Image: "gated:disk", Volume: "v1"})
		failed <- err
	}()
	<-source.half
	leave()
	<-failed
	waitFor(t, func() bool { return len(r.Fills()) == 0 })
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{State: "all"})
	if err != nil || len(entries) != 0 {
		t.Errorf("entries: got %v, %v, want none", entries, err)
	}
	close(source.gate)
	if a := r.create(t, "gated:disk", "v1", 0); a.Outcome != plugin.Filled {
		t.Errorf("the next request: got %s, want filled", a.Outcome)
	}
	checkClean(t, r)
}

func TestBackgroundFillGoesOnWithoutItsCaller(t *testing.T) {
	r, source := gatedRig(t)
	source.put("disk", "1", random(2*mib))
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", OnMiss: plugin.Background})
	if err != nil || a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonFilling {
		t.Fatalf("got %+v, %v, want bypassed: filling", a, err)
	}
	<-source.half
	close(source.gate)
	waitFor(t, func() bool { return len(r.Fills()) == 0 })
	if a := r.create(t, "gated:disk", "v1", 0); a.Outcome != plugin.Hit {
		t.Errorf("afterwards: got %s, want hit", a.Outcome)
	}
}

func TestCloseUndoesAFillThatDoesNotEndInTime(t *testing.T) {
	r, source := gatedRig(t)
	source.put("disk", "1", random(2*mib))
	answers := make(chan plugin.Answer, 1)
	go func() {
		a, _ := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1"})
		answers <- a
	}()
	<-source.half
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(over); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonStopping {
		t.Errorf("got %+v, want bypassed: stopping", a)
	}
	close(source.gate)
	r.open(t)
	r.wantEntries(t, 0)
	checkClean(t, r)
}

func TestClonesRacingEvictionAreWholeOrFilledAnew(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	content := random(1 * mib)
	source.put("disk", "1", content)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				a := r.create(t, "gated:disk", fmt.Sprintf("v%d-%d", w, i), 0)
				if a.Outcome == plugin.Bypassed {
					t.Errorf("bypassed: %s %s", a.Reason, a.Detail)
					continue
				}
				r.holds(t, a, content)
			}
		})
	}
	for range 40 {
		if _, err := r.DeleteAllEntries(t.Context(), "local", false); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	checkClean(t, r)
}

func TestOneNameOneVolume(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	source.put("disk", "1", random(1*mib))
	ids := make([]backends.VolumeID, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i] = r.create(t, "gated:disk", "same", 0).VolumeID })
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("two volumes of one name: %v", ids)
		}
	}
	checkClean(t, r)
}

func TestTheDeadlineEndsTheWaitAndNoVolumeIsMade(t *testing.T) {
	r, source := gatedRig(t)
	source.put("disk", "1", random(2*mib))
	for _, c := range []struct {
		name string
		left time.Duration
	}{
		{"while the image is filled", 3 * time.Second}, // more than the margin in which no clone begins
		{"already over", -time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Deadline: time.Now().Add(c.left)})
			if err != nil || a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonDeadline {
				t.Fatalf("got %+v, %v, want bypassed: deadline", a, err)
			}
			r.noVolume(t, "v1")
		})
	}
	close(source.gate)
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Deadline: time.Now().Add(time.Minute)})
	if err != nil || a.Outcome != plugin.Filled {
		t.Fatalf("in time: got %+v, %v, want filled", a, err)
	}
	checkClean(t, r)
}

func TestABackendsTimeoutIsTheDeadlineOfThoseWhoBringNone(t *testing.T) {
	source := newGatedSource()
	source.put("disk", "1", random(2*mib))
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), func(c *plugin.Config) { c.Backends[0].RequestTimeout = 3 * time.Second })
	for _, own := range []time.Time{{}, time.Now().Add(time.Hour)} {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Deadline: own})
		if err != nil || a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonDeadline {
			t.Fatalf("own deadline %v: got %+v, %v, want bypassed: deadline", own, a, err)
		}
	}
	close(source.gate)
}
