package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// quick lets the queue try again without delay.
func quick(c *plugin.Config) { c.QueueEvery, c.RetryAfter = 5*time.Millisecond, time.Millisecond }

// withBackends adds file backends beside "local", on its filesystem.
func withBackends(t *testing.T, dir string, names ...backends.Name) option {
	return func(c *plugin.Config) {
		for _, name := range names {
			path := filepath.Join(dir, string(name))
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			b, err := file.Open(t.Context(), file.Config{Name: name, Path: path})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			c.Backends = append(c.Backends, plugin.BackendConfig{Name: name, Backend: b, Fallback: "files"})
		}
	}
}

// queued are all images in the queue.
func (r *rig) queued(t *testing.T) []plugin.QueuedView {
	t.Helper()
	all, err := r.Queue().Queued(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// prefetch queues images.
func (r *rig) prefetch(t *testing.T, p plugin.Prefetch) []plugin.QueuedView {
	t.Helper()
	all, err := r.Queue().Prefetch(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// waitForState waits until all images in the queue are in that state.
func (r *rig) waitForState(t *testing.T, state string, many int) []plugin.QueuedView {
	t.Helper()
	var all []plugin.QueuedView
	waitFor(t, func() bool {
		all = r.queued(t)
		return len(all) == many && !slices.ContainsFunc(all, func(v plugin.QueuedView) bool { return v.State != state })
	})
	return all
}

func TestAPrefetchedImageIsAHit(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick)
	content := r.image(t, "disk.raw", 8*mib)
	asked := r.prefetch(t, plugin.Prefetch{Images: []string{"library:disk.raw", "disk.raw"}, Pin: true})
	if len(asked) != 1 || asked[0].ImageID != "library:disk.raw" || asked[0].Backend != "local" || asked[0].QueuedAt.IsZero() {
		t.Fatalf("asked: %+v, want one row", asked)
	}
	done := r.waitForState(t, "done", 1)[0]
	if done.ID != asked[0].ID || done.Attempts != 1 || done.EndedAt == nil || done.LastError != "" {
		t.Errorf("done: %+v", done)
	}
	a := r.create(t, "library:disk.raw", "v1", 0)
	if a.Outcome != plugin.Hit || a.EntryID != done.EntryID {
		t.Errorf("first request: %+v, want a hit of entry %s", a, done.EntryID)
	}
	r.holds(t, a, content)
	if e := r.wantEntries(t, 1)[0]; !e.Pinned {
		t.Error("the entry is not pinned")
	}
	checkClean(t, r)
}

func TestOneDownloadFillsAGroup(t *testing.T) {
	dir := fstest.Mount(t, fstest.XFS, 512*mib)
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, dir, lru.Bounds{}, quick, withSource(source), withBackends(t, dir, "second", "third"), func(c *plugin.Config) {
		c.Groups = []plugin.GroupConfig{{Name: "all", Backends: []backends.Name{"local", "second", "third"}}}
	})
	content := random(3*mib + 512)
	source.put("disk", "1", content)
	if asked := r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk"}, Group: "all"}); len(asked) != 3 {
		t.Fatalf("asked: %+v, want three rows", asked)
	}
	r.waitForState(t, "done", 3)
	if n := source.opened.Load(); n != 1 {
		t.Errorf("downloaded %d times, want once", n)
	}
	for _, name := range []backends.Name{"local", "second", "third"} {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: name, Image: "gated:disk", Volume: "v"})
		if err != nil || a.Outcome != plugin.Hit {
			t.Fatalf("%s: %+v, %v, want a hit", name, a, err)
		}
		got, err := os.ReadFile(a.Path)
		if err != nil || !slices.Equal(got[:len(content)], content) {
			t.Errorf("%s: other bytes than the image's, %v", name, err)
		}
	}
	rep, err := r.Report(t.Context(), "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Total.DownloadedBytes > int64(len(content)) {
		t.Errorf("report: %d bytes downloaded, want those of one download", rep.Total.DownloadedBytes)
	}
	checkClean(t, r)
}

func TestARequestJoinsAPrefetchAndOutlivesIt(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source))
	source.put("disk", "1", random(mib))
	row := r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk"}})[0]
	<-source.half
	running := r.waitForState(t, "running", 1)[0]
	if running.Position != 0 || running.TotalBytes != mib || running.InstanceID == "" {
		t.Errorf("running: %+v", running)
	}
	answered := r.startCreate(t, "gated:disk", "v1")
	waitFor(t, func() bool { fills := r.Fills(); return len(fills) == 1 && fills[0].Waiters == 2 })
	if _, err := r.Queue().DeleteQueued(t.Context(), row.ID[:len(row.ID)-1]); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return r.Fills()[0].Waiters == 1 })
	close(source.gate)
	if a := <-answered; a.Outcome != plugin.Joined && a.Outcome != plugin.Filled {
		t.Errorf("answer: %+v, want it joined", a)
	}
	if n := source.opened.Load(); n != 1 {
		t.Errorf("downloaded %d times, want once", n)
	}
	if all := r.queued(t); len(all) != 0 {
		t.Errorf("queue: %+v, want it empty", all)
	}
	if _, err := r.Queue().DeleteQueued(t.Context(), row.ID); !errors.Is(err, catalog.ErrNotQueued) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestWhatNobodyWaitsForAnyMoreEnds(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source))
	source.put("disk", "1", random(mib))
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk"}})
	<-source.half
	if n, err := r.Queue().ClearQueue(t.Context()); n != 1 || err != nil {
		t.Fatalf("clear: %d, %v", n, err)
	}
	waitFor(t, func() bool { return len(r.Fills()) == 0 })
	r.wantEntries(t, 0)
	r.wantHeld(t, 0)
}

func TestTheQueueOutlivesTheProcessAndKeepsItsOrder(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source), func(c *plugin.Config) { c.FillLimit = 1 })
	var images []string
	for i := range 5 {
		id := fmt.Sprint("disk-", i)
		source.put(id, "1", random(64<<10))
		images = append(images, "gated:"+id)
	}
	r.prefetch(t, plugin.Prefetch{Images: images[:4]})
	<-source.half
	r.prefetch(t, plugin.Prefetch{Images: images[4:], Priority: 10})
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(now); err != nil {
		t.Fatal(err)
	}
	r.open(t)
	all := r.queued(t)
	if len(all) != 5 {
		t.Fatalf("queue after a restart: %+v, want five", all)
	}
	waiting := slices.IndexFunc(all, func(v plugin.QueuedView) bool { return v.State == "waiting" })
	if first := all[0]; first.ImageID != images[4] || waiting >= 0 && all[waiting].Position != 1 {
		t.Errorf("first is %+v, want the one of the greatest priority", first)
	}
	close(source.gate)
	for _, v := range r.waitForState(t, "done", 5) {
		if v.Attempts != 1 {
			t.Errorf("%s took %d attempts, want one: a stop is none", v.ImageID, v.Attempts)
		}
	}
	r.wantEntries(t, 5)
	checkClean(t, r)
}

func TestWhatFailedIsTriedAgainOrGivenUp(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source))
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:absent"}})
	failed := r.waitForState(t, "failed", 1)[0]
	if failed.Attempts != 1 || failed.LastError == "" || failed.EndedAt == nil {
		t.Errorf("an image that is not there: %+v", failed)
	}
	source.put("absent", "1", random(mib))
	if _, err := r.Queue().RetryQueued(t.Context(), failed.ID); err != nil {
		t.Fatal(err)
	}
	done := r.waitForState(t, "done", 1)[0]
	if _, err := r.Queue().RetryQueued(t.Context(), done.ID); !errors.Is(err, plugin.ErrBusy) {
		t.Errorf("retry of what is done: %v, want ErrBusy", err)
	}

	source.put("short", "1", random(mib))
	source.claimSize("short", 2*mib) // ends early: it may be whole the next time
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:short"}})
	waitFor(t, func() bool { return r.queued(t)[0].Attempts > 1 })
	source.claimSize("short", mib)
	r.waitForState(t, "done", 2)
}

func TestAPrefetchThatMeansNothingIsRefused(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir, lru.Bounds{}, quick, withBackends(t, dir, "second"), func(c *plugin.Config) {
		c.Groups = []plugin.GroupConfig{{Name: "fast", Backends: []backends.Name{"second"}}}
	})
	one := []string{"library:disk.raw"}
	for name, test := range map[string]struct {
		asked plugin.Prefetch
		want  error
	}{
		"no image":       {plugin.Prefetch{All: true}, plugin.ErrBadRequest},
		"an empty one":   {plugin.Prefetch{Images: []string{""}, All: true}, plugin.ErrBadRequest},
		"a line end":     {plugin.Prefetch{Images: []string{"library:a\nb"}, All: true}, plugin.ErrBadRequest},
		"a zero":         {plugin.Prefetch{Images: []string{"library:a\x00b"}, All: true}, plugin.ErrBadRequest},
		"an escape":      {plugin.Prefetch{Images: []string{"library:\u009b2J"}, All: true}, plugin.ErrBadRequest},
		"no text":        {plugin.Prefetch{Images: []string{"library:\xff"}, All: true}, plugin.ErrBadRequest},
		"a huge one":     {plugin.Prefetch{Images: []string{"library:" + strings.Repeat("a", 4096)}, All: true}, plugin.ErrBadRequest},
		"no backend":     {plugin.Prefetch{Images: one}, plugin.ErrUnknownBackend},
		"wrong backend":  {plugin.Prefetch{Images: one, Backends: []backends.Name{"absent"}}, plugin.ErrUnknownBackend},
		"wrong group":    {plugin.Prefetch{Images: one, Group: "slow"}, plugin.ErrUnknownBackend},
		"group and all":  {plugin.Prefetch{Images: one, Group: "fast", All: true}, plugin.ErrBadRequest},
		"no such source": {plugin.Prefetch{Images: []string{"nowhere:disk"}, All: true}, imagesource.ErrNoSource},
		"priority":       {plugin.Prefetch{Images: one, All: true, Priority: 2000}, plugin.ErrBadRequest},
	} {
		if got, err := r.Queue().Prefetch(t.Context(), test.asked); !errors.Is(err, test.want) {
			t.Errorf("%s: got %+v, %v, want %v", name, got, err, test.want)
		}
	}
	if all := r.queued(t); len(all) != 0 {
		t.Errorf("queue: %+v, want it empty", all)
	}
	r.config.Groups = []plugin.GroupConfig{{Name: "g", Backends: []backends.Name{"absent"}}}
	r.config.StateDir = t.TempDir()
	if _, err := plugin.Open(t.Context(), r.config); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("a group of nothing: %v, want ErrBadRequest", err)
	}
}

func TestABackendThatCannotCloneGetsItsFileCacheFilled(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.Ext4, 256*mib), lru.Bounds{}, quick)
	r.image(t, "disk.raw", 8*mib)
	r.prefetch(t, plugin.Prefetch{Images: []string{"library:disk.raw"}})
	r.waitForState(t, "done", 1)
	if a := r.create(t, "library:disk.raw", "v1", 0); a.Outcome != plugin.Copied || a.DownloadedBytes != 0 {
		t.Errorf("first request: %+v, want copied without a download", a)
	}
}

// What the queue has begun, and waits for a place of its source, says so as long as it does.
func TestTheQueueSaysWhatItsFillWaitsFor(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source), func(c *plugin.Config) {
		c.SourceLimits = map[string]plugin.SourceLimit{"gated": {Fills: 1}}
	})
	for i := range 2 {
		source.put(fmt.Sprint("disk-", i), "1", random(4<<10))
	}
	first := r.start(plugin.Request{Image: "gated:disk-0", Volume: "v"})
	reads(t, source) // the only place of the source
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk-1"}})
	waitFor(t, func() bool {
		v := r.queued(t)[0]
		return v.State == "running" && v.WaitsFor == plugin.BoundSource
	})
	close(source.gate)
	mustBe(t, "the request", first, plugin.Filled)
	if v := r.waitForState(t, "done", 1)[0]; v.WaitsFor != "" {
		t.Errorf("what is done waits for %s", v.WaitsFor)
	}
}
