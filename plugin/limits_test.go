package plugin_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

func TestWhatIsUnusedGoesByItself(t *testing.T) {
	var later atomic.Int64 // nanoseconds
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MinAge: 2 * time.Hour}, func(c *plugin.Config) {
		c.Backends[0].RemoveUnusedAfter = time.Hour
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	for _, name := range []string{"old", "pinned", "used"} {
		r.image(t, name+".raw", mib)
		r.create(t, "library:"+name+".raw", name, 0)
	}
	if _, err := r.SetPinned(t.Context(), r.entry(t, "library:pinned.raw").ID, true); err != nil {
		t.Fatal(err)
	}
	later.Store(int64(90 * time.Minute))
	plugin.KeepWithin(t.Context(), r.Plugin)
	r.wantEntries(t, 3) // younger than min_age
	later.Store(int64(3 * time.Hour))
	r.create(t, "library:used.raw", "again", 0)
	plan, err := r.PlanPrune(t.Context())
	if err != nil || len(plan.Planned) != 1 {
		t.Errorf("plan: %+v, %v, want one", plan.Planned, err)
	}
	plugin.KeepWithin(t.Context(), r.Plugin)
	for _, e := range r.wantEntries(t, 2) {
		if e.ImageIDs[0] == "library:old.raw" {
			t.Errorf("%s is still there", e.ImageIDs[0])
		}
	}
	checkClean(t, r)
}

func TestLimitsChangeWhileRequestsAreServed(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(source), func(c *plugin.Config) { c.FillLimit = 1 })
	for _, name := range []string{"a.raw", "b.raw", "c.raw"} {
		r.image(t, name, mib)
		r.create(t, "library:"+name, name, 0)
	}
	source.put("one", "1", random(mib))
	source.put("two", "1", random(mib))
	one := r.startCreate(t, "gated:one", "one")
	<-source.half
	two := r.startCreate(t, "gated:two", "two") // waits for its turn
	waitFor(t, func() bool { return len(r.Fills()) == 2 })

	local := plugin.BackendConfig{Name: "local", Bounds: lru.Bounds{MaxCount: 2}}
	for name, l := range map[string]plugin.Limits{
		"no such backend": {Backends: []plugin.BackendConfig{local, {Name: "absent"}}},
		"wrong":           {Backends: []plugin.BackendConfig{local, {Name: "local", MaxWaiting: -1}}},
		"no such group":   {Backends: []plugin.BackendConfig{local}, Groups: []plugin.GroupConfig{{Name: "g"}}},
		"fills":           {Backends: []plugin.BackendConfig{local}, FillLimit: -1},
	} {
		if err := r.Controls().SetLimits(l); !errors.Is(err, plugin.ErrBadRequest) {
			t.Errorf("%s: got %v, want ErrBadRequest", name, err)
		}
	}
	if v, err := r.Backends(t.Context()); err != nil || v[0].MaxCount != 0 {
		t.Errorf("after limits that were refused: %+v, %v", v, err)
	}
	if err := r.Controls().SetLimits(plugin.Limits{Backends: []plugin.BackendConfig{local}, FillLimit: 2}); err != nil {
		t.Fatal(err)
	}
	<-source.half // of the other one
	close(source.gate)
	for _, answered := range []<-chan plugin.Answer{one, two} {
		if a := <-answered; a.Outcome != plugin.Filled {
			t.Errorf("a fill that had begun: %+v", a)
		}
	}
	plugin.KeepWithin(t.Context(), r.Plugin)
	r.wantEntries(t, 2)
	checkClean(t, r)
}

// namedSource is a gated source by another name.
type namedSource struct {
	*gatedSource
	name string
}

func (s namedSource) Name() string { return s.name }

func (s namedSource) Stat(ctx context.Context, id string) (imagesource.Image, error) {
	i, err := s.gatedSource.Stat(ctx, id)
	i.Source = s.name
	return i, err
}

// Sources may be exchanged while a fill reads from one that goes; what is wrong changes nothing.
func TestSourcesChangeWhileAFillReads(t *testing.T) {
	going := newGatedSource()
	var stays imagesource.Source
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(going), func(c *plugin.Config) { stays = c.Sources[0] })
	r.image(t, "a.raw", mib)
	r.create(t, "library:a.raw", "a", 0)
	going.put("one", "1", random(mib))
	one := r.startCreate(t, "gated:one", "one")
	<-going.half
	coming := newGatedSource()
	coming.put("two", "1", random(mib))
	close(coming.gate)
	names := func() (all string) {
		for _, v := range r.Sources() {
			all += v.Name + " " + v.State + ", "
		}
		return all
	}
	for what, wrong := range map[string]plugin.Limits{
		"two of one name":        {Sources: []imagesource.Source{stays, namedSource{coming, "library"}}},
		"a negative limit":       {Sources: []imagesource.Source{stays}, SourceLimits: map[string]plugin.SourceLimit{"library": {Fills: -1}}},
		"what follows none":      {Sources: []imagesource.Source{stays}, Follows: []plugin.FollowConfig{{Source: "gated", Image: "one"}}},
		"a backend of no config": {Sources: []imagesource.Source{stays}, Backends: []plugin.BackendConfig{{Name: "absent"}}},
	} {
		if err := r.Controls().SetLimits(wrong); !errors.Is(err, plugin.ErrBadRequest) || names() != "library up, gated up, " {
			t.Errorf("%s: %v; sources: %s", what, err, names())
		}
	}
	next := plugin.Limits{
		Sources: []imagesource.Source{namedSource{coming, "more"}, stays}, SourceLimits: map[string]plugin.SourceLimit{"more": {Fills: 1, BytesPerSecond: 100 * mib}},
		Follows: []plugin.FollowConfig{{Source: "more", Image: "two"}},
	}
	if err := r.Controls().SetLimits(next); err != nil || !strings.HasPrefix(names(), "more ") || !strings.HasSuffix(names(), ", library up, ") {
		t.Fatalf("sources: %s, %v", names(), err)
	}
	waitFor(t, func() bool { return slices.Contains(r.cached(t), "more:two") })
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "gated:one", Volume: "gone"}); !errors.Is(err, imagesource.ErrNotFound) {
		t.Errorf("of a source that is gone: %v", err)
	}
	close(going.gate)
	if got := <-one; got.Outcome != plugin.Filled {
		t.Errorf("the fill of the source that went: %+v", got)
	}
	checkClean(t, r)
}

// What a source's fills may ask of it changes for those that read and wait, too.
func TestALimitOfASourceIsLiftedUnderFills(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	var sources []imagesource.Source
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(source), func(c *plugin.Config) {
		sources = c.Sources
		c.SourceLimits = map[string]plugin.SourceLimit{"gated": {Fills: 1, BytesPerSecond: 8 << 10}} // minutes for each image
	})
	var ends []<-chan plugin.Answer
	for _, id := range []string{"one", "two"} {
		source.put(id, "1", random(mib))
		ends = append(ends, r.startCreate(t, "gated:"+id, id))
	}
	waitFor(t, func() bool { return len(r.Fills()) == 2 && source.opened.Load() == 1 })
	if err := r.Controls().SetLimits(plugin.Limits{Sources: sources}); err != nil {
		t.Fatal(err)
	}
	late := time.After(time.Minute)
	for _, end := range ends {
		select {
		case a := <-end:
			if a.Outcome != plugin.Filled {
				t.Errorf("got %+v", a)
			}
		case <-late:
			t.Fatal("the fills keep to the limit that was lifted")
		}
	}
}
