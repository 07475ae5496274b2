package plugin_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

func TestABackendOutOfUseIsLeftAlone(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source))
	r.image(t, "disk.raw", mib)
	r.create(t, "library:disk.raw", "before", 0)
	source.put("slow", "1", random(mib))
	slow := r.startCreate(t, "gated:slow", "slow")
	<-source.half
	if err := r.Controls().DisableBackend(t.Context(), "local"); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Controls().DrainBackend(soon, "local"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain while a fill goes on: %v", err)
	}
	close(source.gate)
	if a := <-slow; a.Outcome != plugin.Filled {
		t.Errorf("a request that had begun: %+v", a)
	}
	if err := r.Controls().DrainBackend(t.Context(), ""); err != nil {
		t.Errorf("drain: %v", err)
	}
	bypassed := func(when string) {
		t.Helper()
		if a := r.create(t, "library:disk.raw", "v1", 0); a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonDisabled {
			t.Errorf("%s: got %+v, want it bypassed", when, a)
		}
	}
	bypassed("disabled")
	r.reopen(t, func() {})
	bypassed("after a restart")
	r.image(t, "ahead.raw", mib)
	r.prefetch(t, plugin.Prefetch{Images: []string{"library:ahead.raw"}})
	waitFor(t, func() bool { return r.queued(t)[0].LastError != "" })
	if v, err := r.Backends(t.Context()); err != nil || !v[0].Disabled || v[1].Disabled {
		t.Errorf("backends: %+v, %v", v, err)
	}
	r.wantEntries(t, 2)
	if got, err := r.Prune(t.Context()); err != nil || len(got.Removed) != 0 || len(got.Unavailable) != 1 || got.Unavailable[0].Name != "local" {
		t.Errorf("prune: %+v, %v, want the backend left out", got, err)
	}
	if got, err := r.PlanPrune(t.Context()); err != nil || len(got.Planned) != 0 || len(got.Unavailable) != 1 {
		t.Errorf("prune --dry-run: %+v, %v, want the backend left out", got, err)
	}
	if err := r.Controls().EnableBackend(t.Context(), "local"); err != nil {
		t.Fatal(err)
	}
	r.waitForState(t, "done", 1)
	if a := r.create(t, "library:disk.raw", "v1", 0); a.Outcome != plugin.Hit {
		t.Errorf("enabled: got %+v, want a hit", a)
	}
	if err := r.Controls().SetLimits(plugin.Limits{Backends: []plugin.BackendConfig{{Name: "local", Disabled: true}}}); err != nil {
		t.Fatal(err)
	}
	if a := r.create(t, "library:disk.raw", "v2", 0); a.Reason != plugin.ReasonDisabled {
		t.Errorf("disabled by the configuration: got %+v", a)
	}
	if err := r.Controls().DisableBackend(t.Context(), "absent"); !errors.Is(err, plugin.ErrUnknownBackend) {
		t.Errorf("an unknown one: %v", err)
	}
	checkClean(t, r)
}
