package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

func memory() *backendtest.Memory { return backendtest.NewMemory(backendtest.MemoryConfig{}) }

// another is a backend that may come.
func another(is backends.Backend) plugin.BackendConfig {
	return plugin.BackendConfig{Name: "other", Backend: is}
}

// set puts limits in force, of which nothing is wrong.
func (r *rig) set(t *testing.T, l plugin.Limits) {
	t.Helper()
	if err := r.Controls().SetLimits(l); err != nil {
		t.Fatal(err)
	}
}

// slowOn begins to make a volume on a backend.
func (r *rig) slowOn(t *testing.T, on backends.Name, image string) <-chan plugin.Answer {
	t.Helper()
	done := make(chan plugin.Answer, 1)
	go func() {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: on, Image: image, Volume: backends.VolumeName("slow-" + string(on))})
		if err != nil {
			a.Detail = err.Error()
		}
		done <- a
	}()
	return done
}

// names are the backends and file caches.
func (r *rig) names(t *testing.T) string {
	t.Helper()
	views, err := r.Backends(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range views {
		names = append(names, string(v.Name))
	}
	return strings.Join(names, " ")
}

// configured tells whether all entries of a backend are shown as configured.
func (r *rig) configured(t *testing.T, on backends.Name) bool {
	t.Helper()
	all, err := r.Entries(t.Context(), plugin.EntryFilter{Backend: on, State: "all"})
	if err != nil || len(all) == 0 {
		t.Fatalf("entries on %s: %+v, %v", on, all, err)
	}
	return !slices.ContainsFunc(all, func(e plugin.EntryView) bool { return !e.Configured })
}

// A backend comes, and serves; it goes while a fill in it goes on, which comes to its end; it comes again, with what it had.
func TestABackendComesAndGoesWhileItIsUsed(t *testing.T) {
	source := newGatedSource()
	source.put("slow", "1", random(mib))
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()), withSource(source))
	r.image(t, "disk.raw", mib)
	other := another(memory())

	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{other}})
	if got := r.names(t); got != "local other files" {
		t.Errorf("backends: %s", got)
	}
	if a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "other", Image: "library:disk.raw", Volume: "v1"}); err != nil || a.Outcome != plugin.Filled {
		t.Errorf("on a backend that has come: %+v, %v", a, err)
	}
	wantHit(t, r, "other", "library:disk.raw", "v2")
	slow := r.slowOn(t, "other", "gated:slow")
	<-source.half

	r.set(t, plugin.Limits{Gone: []backends.Name{"other"}})
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "other", Image: "library:disk.raw", Volume: "v3"}); !errors.Is(err, plugin.ErrUnknownBackend) {
		t.Errorf("on a backend that has gone: %v, want ErrUnknownBackend", err)
	}
	if r.names(t) != "local files" || r.configured(t, "other") {
		t.Errorf("a backend that has gone: %s; configured: %v", r.names(t), r.configured(t, "other"))
	}
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:disk.raw", Volume: "v4"}); err != nil {
		t.Errorf("on the only one: %v", err)
	}
	if got := plugin.Leaving(r.Plugin); len(got) != 1 {
		t.Errorf("leaving: %v, want the one with a fill", got)
	}
	close(source.gate)
	if a := <-slow; a.Outcome != plugin.Filled {
		t.Errorf("the fill that went on: %+v", a)
	}
	waitFor(t, func() bool { return len(plugin.Leaving(r.Plugin)) == 0 })
	if r.configured(t, "other") {
		t.Error("the entries of a backend that has left are shown as configured")
	}
	if got, err := r.Check(t.Context(), plugin.CheckOptions{}); err != nil || !slices.ContainsFunc(got.Problems, func(p plugin.Problem) bool { return p.Kind == "not-configured" }) {
		t.Errorf("check: %+v, %v, want that entries are not configured", got, err)
	}
	if got, err := r.Report(t.Context(), "other", time.Time{}); err != nil || got.Total.Misses != 2 || len(got.Backends) != 1 {
		t.Errorf("the report of what it did: %+v, %v", got, err)
	}
	if story, err := r.Controls().ExplainVolume(t.Context(), "other", "v1"); err != nil || story.Exists || story.Unseen == "" || len(story.Requests) != 1 {
		t.Errorf("the story of a volume there: %+v, %v", story, err)
	}

	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{other}})
	wantHit(t, r, "other", "library:disk.raw", "v5")
	wantHit(t, r, "other", "gated:slow", "v6")
	checkClean(t, r)
}

// A backend that is configured again before the last fill in it has ended stays; another one of its name has to wait.
func TestABackendComesBackBeforeItHasLeft(t *testing.T) {
	source := newGatedSource()
	source.put("slow", "1", random(mib))
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()), withSource(source))
	r.image(t, "disk.raw", mib)
	files := plugin.FileCacheConfig{Name: "files", Cache: r.config.FileCaches[0].Cache}
	local, other := r.config.Backends[0], another(memory())
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{other}})
	slow := r.slowOn(t, "local", "gated:slow")
	<-source.half

	r.set(t, plugin.Limits{Gone: []backends.Name{"local", "files"}})
	wrong := plugin.BackendConfig{Name: "local", Backend: memory()}
	if err := r.Controls().SetLimits(plugin.Limits{Backends: []plugin.BackendConfig{wrong}}); !errors.Is(err, plugin.ErrBadRequest) || !strings.Contains(err.Error(), "has not left yet") {
		t.Errorf("another one of its name: %v", err)
	}
	if got := plugin.Leaving(r.Plugin); len(got) != 2 {
		t.Errorf("leaving: %v, want both: one falls back on the other", got)
	}
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{local}, FileCaches: []plugin.FileCacheConfig{files}})
	if got := r.names(t); got != "other local files" {
		t.Errorf("backends: %s", got)
	}
	close(source.gate)
	if a := <-slow; a.Outcome != plugin.Filled {
		t.Errorf("the fill that went on: %+v", a)
	}
	wantHit(t, r, "local", "gated:slow", "v1")
	if !r.configured(t, "local") || len(plugin.Leaving(r.Plugin)) > 0 {
		t.Errorf("it has come back: %v", plugin.Leaving(r.Plugin))
	}
	checkClean(t, r)
}

// What is wrong with one that comes or goes changes nothing, and a sentence says what it is.
func TestAChangeOfBackendsIsAllOrNothing(t *testing.T) {
	local := memory()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(local))
	held := memory()
	if err := held.HoldFor(t.Context(), backends.Holder{Catalog: "another", Host: "elsewhere"}); err != nil {
		t.Fatal(err)
	}
	good, twice := another(memory()), memory()
	group := []plugin.GroupConfig{{Name: "g", Backends: []backends.Name{"other"}}}
	for name, c := range map[string]struct {
		plugin.Limits
		want error
		says string
	}{
		"it lies where another one does":     {plugin.Limits{Backends: []plugin.BackendConfig{another(local)}}, plugin.ErrBadRequest, "of its own"},
		"two that come are one":              {plugin.Limits{Backends: []plugin.BackendConfig{another(twice), {Name: "twin", Backend: twice}}}, plugin.ErrBadRequest, "of its own"},
		"it is another installation's":       {plugin.Limits{Backends: []plugin.BackendConfig{another(held)}}, backends.ErrHeld, "take-over other"},
		"its fallback is none":               {plugin.Limits{Backends: []plugin.BackendConfig{{Name: "other", Backend: memory(), Fallback: "local"}}}, plugin.ErrBadRequest, "not a file cache"},
		"it is beside another one":           {plugin.Limits{Backends: []plugin.BackendConfig{good, another(held)}}, plugin.ErrBadRequest, "named"},
		"it is not opened":                   {plugin.Limits{Backends: []plugin.BackendConfig{another(nil)}}, plugin.ErrBadRequest, "other"},
		"one goes that there is not":         {plugin.Limits{Gone: []backends.Name{"other"}}, plugin.ErrBadRequest, "other"},
		"the fallback of one that stays":     {plugin.Limits{Gone: []backends.Name{"files"}}, plugin.ErrBadRequest, "fallback of backend local"},
		"a group names one that is not":      {plugin.Limits{Groups: group}, plugin.ErrBadRequest, "other"},
		"a group names one that goes":        {plugin.Limits{Backends: []plugin.BackendConfig{good}, Gone: []backends.Name{"local"}, Groups: []plugin.GroupConfig{{Name: "g", Backends: []backends.Name{"local"}}}}, plugin.ErrBadRequest, "local"},
		"what is followed is wrong":          {plugin.Limits{Backends: []plugin.BackendConfig{good}, Follows: []plugin.FollowConfig{{Source: "nowhere", Image: "i"}}}, plugin.ErrBadRequest, "nowhere"},
		"one that comes with a wrong source": {plugin.Limits{Backends: []plugin.BackendConfig{good}, Sources: append(slices.Clone(r.config.Sources), r.config.Sources[0])}, plugin.ErrBadRequest, "library"},
	} {
		if err := r.Controls().SetLimits(c.Limits); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %v and %q", name, err, c.want, c.says)
		}
		if got := r.names(t); got != "local files" {
			t.Errorf("%s: backends: %s", name, got)
		}
	}
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{good}, Groups: group})
	if got := r.names(t); got != "local other files" {
		t.Errorf("backends: %s", got)
	}
	checkClean(t, r)
}

// A backend that does not answer when it comes is bound once it does, as at a start.
func TestABackendComesThatDoesNotAnswer(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()))
	r.image(t, "disk.raw", mib)
	other := newAway(memory())
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{another(other)}})
	ask := func(volume backends.VolumeName) plugin.Answer {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "other", Image: "library:disk.raw", Volume: volume})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := ask("v1"); a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonUnavailable {
		t.Errorf("before it answers: %+v", a)
	}
	other.gone.Store(false)
	if a := ask("v2"); a.Outcome != plugin.Filled {
		t.Errorf("once it answers: %+v", a)
	}
	checkClean(t, r)
}

// What is followed everywhere is cached on a backend that comes, without waiting for the next look.
func TestWhatIsFollowedIsCachedOnABackendThatComes(t *testing.T) {
	everywhere := []plugin.FollowConfig{{Source: "library", Match: imagesource.Match{Pattern: "*.raw"}}}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()), quick, func(c *plugin.Config) { c.Follows = everywhere })
	r.aged(t, "golden.raw", 3600e9)
	r.sweep(t)
	r.wantEntries(t, 1)
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{another(memory())}, Follows: everywhere})
	waitFor(t, func() bool { return len(r.cached(t)) == 2 && len(r.Fills()) == 0 }) // its claim is settled after it is ready
	if !r.configured(t, "other") {
		t.Error("the entry is shown as not configured")
	}
	checkClean(t, r)
}

// Requests for one backend are hits while another one comes and goes, is drained and is looked at, by two at once.
func TestBackendsComeAndGoUnderRequests(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()))
	r.image(t, "disk.raw", 64<<10)
	r.create(t, "library:disk.raw", "first", 0)
	var all sync.WaitGroup
	for asker := range 2 {
		all.Go(func() {
			for n := range 100 {
				volume := backends.VolumeName(fmt.Sprintf("v%d-%d", asker, n))
				a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "library:disk.raw", Volume: volume})
				if err != nil || a.Outcome != plugin.Hit {
					t.Errorf("a request for another backend: %+v, %v", a, err)
				}
			}
		})
	}
	for _, name := range []backends.Name{"one", "two"} {
		is := plugin.BackendConfig{Name: name, Backend: memory()}
		all.Go(func() {
			for n := range 5 {
				r.comeAndGo(t, is, n)
			}
		})
	}
	all.Wait()
	waitFor(t, func() bool { return len(plugin.Leaving(r.Plugin)) == 0 })
	if got := r.names(t); got != "local files" {
		t.Errorf("backends: %s", got)
	}
}

// comeAndGo lets a backend come, be used, be drained, and go.
func (r *rig) comeAndGo(t *testing.T, is plugin.BackendConfig, n int) {
	t.Helper()
	if err := r.Controls().SetLimits(plugin.Limits{Backends: []plugin.BackendConfig{is}}); err != nil {
		t.Errorf("%s comes: %v", is.Name, err)
	}
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Backend: is.Name, Image: "library:disk.raw", Volume: backends.VolumeName(fmt.Sprintf("v%d", n))}); err != nil {
		t.Errorf("on %s: %v", is.Name, err)
	}
	if err := r.Controls().DrainBackend(t.Context(), is.Name); err != nil {
		t.Errorf("drain %s: %v", is.Name, err)
	}
	if _, err := r.Status(t.Context()); err != nil {
		t.Error(err)
	}
	r.Tidy(t.Context())
	if err := r.Controls().SetLimits(plugin.Limits{Gone: []backends.Name{is.Name}}); err != nil {
		t.Errorf("%s goes: %v", is.Name, err)
	}
}

// A change that meets Close is either whole or refused, and Close does not wait for a backend that does not answer.
func TestAChangeOfBackendsMeetsClose(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()))
	asked := make(chan struct{})
	hangs := &hanging{Memory: memory(), asked: asked}
	changed := make(chan error, 1)
	go func() {
		changed <- r.Controls().SetLimits(plugin.Limits{Backends: []plugin.BackendConfig{another(hangs)}})
	}()
	<-asked
	ctx, atOnce := context.WithCancel(t.Context())
	atOnce()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-changed; err == nil {
		t.Error("a change that Close ended succeeded")
	}
	if err := r.Controls().SetLimits(plugin.Limits{}); !errors.Is(err, plugin.ErrStopping) {
		t.Errorf("after Close: %v, want ErrStopping", err)
	}
}

// hanging does not say which store it is until ctx ends.
type hanging struct {
	*backendtest.Memory
	asked chan struct{}
}

func (h *hanging) Identify(ctx context.Context) (backends.Identity, error) {
	close(h.asked)
	<-ctx.Done()
	return backends.Identity{}, ctx.Err()
}
