package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// startFor asks for a volume of a project.
func (r *rig) startFor(ctx context.Context, project plugin.ProjectID, image string) <-chan result {
	answered := make(chan result, 1)
	request := plugin.Request{ProjectID: project, Image: image, Volume: backends.VolumeName(fmt.Sprintf("for-%s-%s", project, image[len("gated:"):]))}
	go func() {
		a, err := r.CreateVolume(ctx, request)
		answered <- result{a, err}
	}()
	return answered
}

// heldBack is how many fills wait for their project's place.
func (r *rig) heldBack() (n int) {
	for _, f := range r.Fills() {
		if f.WaitsFor == plugin.BoundProject {
			n++
		}
	}
	return n
}

// waitersOf is how many wait for the fill of an image.
func (r *rig) waitersOf(image string) int {
	for _, f := range r.Fills() {
		if f.ImageID == image {
			return f.Waiters
		}
	}
	return 0
}

// projectRig has images at a source that stops in the middle of each download, and lets each project have so many fills.
func projectRig(t *testing.T, images, most int, more ...option) (*rig, *gatedSource) {
	t.Helper()
	source := newGatedSource()
	for i := range images {
		source.put(fmt.Sprint("disk-", i), "1", random(4<<10))
	}
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, append([]option{withSource(source), func(c *plugin.Config) {
		c.FillLimit, c.ProjectFillLimit = 4, most
	}}, more...)...)
	return r, source
}

// reads waits until one more image is read to its middle.
func reads(t *testing.T, source *gatedSource) {
	t.Helper()
	select {
	case <-source.half:
	case <-time.After(time.Minute):
		t.Fatal("nothing more is read")
	}
}

func mustBe(t *testing.T, what string, answered <-chan result, want plugin.Outcome) {
	t.Helper()
	select {
	case a := <-answered:
		if a.err != nil || a.a.Outcome != want {
			t.Errorf("%s: %+v, want it %s", what, a, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s: no answer", what)
	}
}

// A project that asks for 50 images keeps no other project, and nobody who names none, from one.
func TestAProjectsFillsKeepToItsBound(t *testing.T) {
	r, source := projectRig(t, 53, 2)
	var crowd []<-chan result
	for i := range 50 {
		crowd = append(crowd, r.startFor(t.Context(), "greedy", fmt.Sprint("gated:disk-", i)))
	}
	reads(t, source)
	reads(t, source)
	waitFor(t, func() bool { return r.heldBack() == 48 })
	r.wantEntries(t, 2) // what waits has reserved none
	modest, nobodys := r.startFor(t.Context(), "modest", "gated:disk-50"), r.startFor(t.Context(), "", "gated:disk-51")
	reads(t, source)
	reads(t, source) // both are read, beside the two of the greedy one
	if n := source.opened.Load(); n != 4 {
		t.Errorf("%d downloads, want 4", n)
	}
	close(source.gate)
	mustBe(t, "another project's", modest, plugin.Filled)
	mustBe(t, "nobody's", nobodys, plugin.Filled)
	for i, answered := range crowd {
		mustBe(t, fmt.Sprint("disk-", i), answered, plugin.Filled)
	}
	checkClean(t, r)
}

// What one project waits for begins at once where another one asks for it too, and counts as that one's. Who waits is told
// whose bound it is; a hit, and who joins what goes on, need no place.
func TestWhatAProjectWaitsForBeginsForAnother(t *testing.T) {
	r, source := projectRig(t, 4, 1)
	first := r.startFor(t.Context(), "a", "gated:disk-0")
	reads(t, source)
	told := make(chan plugin.Progress, 1)
	second := r.start(plugin.Request{ProjectID: "a", Image: "gated:disk-1", Volume: "second", Progress: func(p plugin.Progress) {
		if p.Phase == "waiting" {
			select {
			case told <- p:
			default:
			}
		}
	}})
	if p := <-told; p.WaitsFor != plugin.BoundProject {
		t.Errorf("who waits is told %+v, want that it waits for its project", p)
	}
	joined := r.startFor(t.Context(), "b", "gated:disk-1")
	reads(t, source) // begun for b
	third := r.startFor(t.Context(), "b", "gated:disk-2")
	waitFor(t, func() bool { return r.heldBack() == 1 }) // b has its place in disk-1
	other := r.startFor(t.Context(), "c", "gated:disk-0")
	waitFor(t, func() bool { return r.waitersOf("gated:disk-0") == 2 })
	alone := r.startFor(t.Context(), "c", "gated:disk-3") // c has none in what it joined
	reads(t, source)
	close(source.gate)
	mustBe(t, "the first", first, plugin.Filled)
	mustBe(t, "who joined it", other, plugin.Joined)
	mustBe(t, "who waited", second, plugin.Filled)
	mustBe(t, "for whom it began", joined, plugin.Joined)
	mustBe(t, "the third", third, plugin.Filled)
	mustBe(t, "alone", alone, plugin.Filled)
	hit := r.start(plugin.Request{ProjectID: "a", Image: "gated:disk-2", Volume: "hit"})
	mustBe(t, "what is there", hit, plugin.Hit)
	checkClean(t, r)
}

// Who waits for its project's place and leaves, or is the one for whom the fill could begin, leaves nothing behind.
func TestWhoLeavesWhileItsProjectWaitsLeavesNothing(t *testing.T) {
	r, source := projectRig(t, 3, 1)
	first := r.startFor(t.Context(), "a", "gated:disk-0")
	reads(t, source)
	leaving, leave := context.WithCancel(t.Context())
	gone := r.startFor(leaving, "a", "gated:disk-1")
	waitFor(t, func() bool { return r.heldBack() == 1 })
	leave()
	if a := <-gone; !errors.Is(a.err, context.Canceled) {
		t.Errorf("who left: %+v", a)
	}
	waitFor(t, func() bool { return len(r.Fills()) == 1 })
	next := r.startFor(t.Context(), "a", "gated:disk-2")
	waitFor(t, func() bool { return r.heldBack() == 1 })
	close(source.gate)
	mustBe(t, "the first", first, plugin.Filled)
	mustBe(t, "the next", next, plugin.Filled)
	if n := source.opened.Load(); n != 2 {
		t.Errorf("%d downloads, want 2: what nobody waits for is not read", n)
	}
	checkClean(t, r)
}

// A reload changes the bound for those that wait, and takes it away.
func TestAReloadChangesTheBoundOfProjects(t *testing.T) {
	r, source := projectRig(t, 4, 1)
	var all []<-chan result
	for i := range 4 {
		all = append(all, r.startFor(t.Context(), "a", fmt.Sprint("gated:disk-", i)))
	}
	reads(t, source)
	waitFor(t, func() bool { return r.heldBack() == 3 })
	set := func(most int) error {
		return r.Controls().SetLimits(plugin.Limits{Backends: []plugin.BackendConfig{{Name: "local"}}, FillLimit: 4, ProjectFillLimit: most})
	}
	if err := set(-1); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("a negative bound: %v, want ErrBadRequest", err)
	}
	if err := set(2); err != nil {
		t.Fatal(err)
	}
	reads(t, source)
	waitFor(t, func() bool { return r.heldBack() == 2 })
	if err := set(0); err != nil {
		t.Fatal(err)
	}
	reads(t, source)
	reads(t, source)
	close(source.gate)
	for i, answered := range all {
		mustBe(t, fmt.Sprint("disk-", i), answered, plugin.Filled)
	}
	r.config.StateDir, r.config.ProjectFillLimit = t.TempDir(), -1
	if _, err := plugin.Open(t.Context(), r.config); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("open: %v, want ErrBadRequest", err)
	}
}

// What a project waits for on one host is begun by another one that another project asks; who waits gets that, without a place.
func TestAProjectsWaitHoldsNoOtherHost(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{}, func(cfg *plugin.Config) { cfg.ProjectFillLimit = 1 })
	for i := range 2 {
		c.source.put(fmt.Sprint("disk-", i), "1", random(4<<10))
	}
	a, b := c.hosts[0], c.hosts[1]
	first := a.startFor(t.Context(), "a", "gated:disk-0")
	reads(t, c.source)
	waits := a.startFor(t.Context(), "a", "gated:disk-1")
	waitFor(t, func() bool { return a.heldBack() == 1 })
	others := b.startFor(t.Context(), "b", "gated:disk-1")
	reads(t, c.source) // the other host reads it
	waitFor(t, func() bool { return a.heldBack() == 0 })
	close(c.source.gate)
	mustBe(t, "the other host's", others, plugin.Filled)
	mustBe(t, "the first", first, plugin.Filled)
	if got := <-waits; got.err != nil || got.a.Outcome != plugin.Joined && got.a.Outcome != plugin.Hit {
		t.Errorf("who waited: %+v, want what the other host has made", got)
	}
	if n := c.source.opened.Load(); n != 2 {
		t.Errorf("%d downloads, want 2", n)
	}
}

// However often a project asks in the background for what is kept back meanwhile, the fill has it once, with its newest token.
func TestRepeatedBackgroundRequestsCountOnce(t *testing.T) {
	r, source := projectRig(t, 2, 1)
	first := r.startFor(t.Context(), "a", "gated:disk-0")
	reads(t, source)
	ask := func(project plugin.ProjectID, token string) {
		t.Helper()
		a, err := r.CreateVolume(t.Context(), plugin.Request{
			ProjectID: project, Image: "gated:disk-1", Volume: "v", Token: imagesource.Token(token), OnMiss: plugin.Background,
		})
		if err != nil || a.Reason != plugin.ReasonFilling {
			t.Fatalf("got %+v, %v, want it filled in the background", a, err)
		}
	}
	for i := range 20 {
		ask("a", fmt.Sprint("token-", i))
	}
	ask("a", "") // brings no token that could take the place of one
	if callers, wanted := plugin.WantedBy(r.Plugin, "gated:disk-1"); len(callers) != 1 || callers[0] != "token-19" || wanted != 1 {
		t.Errorf("it may act with %d tokens, and is wanted %d times; want the newest one, once", len(callers), wanted)
	}
	waitFor(t, func() bool { return r.heldBack() == 1 })
	ask("b", "another") // begins it
	reads(t, source)
	close(source.gate)
	mustBe(t, "the first", first, plugin.Filled)
	waitFor(t, func() bool { return len(r.Fills()) == 0 })
	r.wantEntries(t, 2)
	checkClean(t, r)
}
