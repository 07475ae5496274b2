package plugin_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// slowToSay says which store it is once it is let.
type slowToSay struct {
	*backendtest.Memory
	asked, say chan struct{}
}

func (b *slowToSay) Identify(ctx context.Context) (backends.Identity, error) {
	close(b.asked)
	<-b.say
	return b.Memory.Identify(ctx)
}

// Nothing is filled into a backend that comes before it has come: where another one beside it is refused, it is closed.
func TestNothingIsFilledIntoABackendThatMayNotCome(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()))
	other, beside := another(memory()), &slowToSay{Memory: memory(), asked: make(chan struct{}), say: make(chan struct{})}
	if err := beside.HoldFor(t.Context(), backends.Holder{Catalog: "another", Host: "elsewhere"}); err != nil {
		t.Fatal(err)
	}
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{other}})
	if _, err := r.Queue().Prefetch(t.Context(), plugin.Prefetch{Images: []string{"library:disk.raw"}, Backends: []backends.Name{"other"}}); err != nil {
		t.Fatal(err)
	}
	row := func() plugin.QueuedView {
		rows, err := r.Queue().Queued(t.Context())
		if err != nil || len(rows) != 1 {
			t.Fatalf("the queue: %+v, %v", rows, err)
		}
		return rows[0]
	}
	waitFor(t, func() bool { return row().State == "failed" }) // there is no such image yet
	r.set(t, plugin.Limits{Gone: []backends.Name{"other"}})
	waitFor(t, func() bool { return len(plugin.Leaving(r.Plugin)) == 0 })
	r.image(t, "disk.raw", mib)

	changed := make(chan error, 1)
	go func() {
		changed <- r.Controls().SetLimits(plugin.Limits{Backends: []plugin.BackendConfig{other, {Name: "beside", Backend: beside}}})
	}()
	<-beside.asked
	if _, err := r.Queue().RetryQueue(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		now := row()
		return now.State == "done" || strings.Contains(now.LastError, "is being added")
	})
	close(beside.say)
	if err := <-changed; !errors.Is(err, backends.ErrHeld) {
		t.Errorf("one beside it is another installation's: %v", err)
	}
	if all, err := r.Entries(t.Context(), plugin.EntryFilter{State: "all"}); err != nil || len(all) > 0 {
		t.Errorf("entries: %+v, %v, want none", all, err)
	}
}

// unopened is a backend that cannot be opened.
type unopened struct{ *backendtest.Memory }

func (unopened) Down() error                    { return backends.ErrUnavailable }
func (unopened) Opened() (backends.Store, bool) { return nil, false }

// One that was never open keeps no other one from its name, be it that requests go on which began while it was there.
func TestABackendComesInPlaceOfOneThatWasNeverOpen(t *testing.T) {
	source := newGatedSource()
	source.put("slow", "1", random(mib))
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()), withSource(source))
	r.image(t, "disk.raw", mib)
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{another(unopened{memory()})}})
	slow := r.slowOn(t, "local", "gated:slow")
	<-source.half
	r.set(t, plugin.Limits{Gone: []backends.Name{"other"}})
	if got := plugin.Leaving(r.Plugin); len(got) != 1 {
		t.Errorf("leaving: %v, want the one that was never open", got)
	}
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{another(memory())}})
	if a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "other", Image: "library:disk.raw", Volume: "v"}); err != nil || a.Outcome != plugin.Filled {
		t.Errorf("on the one that has come: %+v, %v", a, err)
	}
	close(source.gate)
	if a := <-slow; a.Outcome != plugin.Filled {
		t.Errorf("the fill that went on: %+v", a)
	}
	waitFor(t, func() bool { return len(plugin.Leaving(r.Plugin)) == 0 })
	checkClean(t, r)
}
