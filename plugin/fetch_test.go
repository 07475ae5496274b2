package plugin_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// hold puts an image whose bytes can be kept.
func (s *gatedSource) hold(id string, size int) {
	content := random(size)
	s.put(id, "1", content)
	s.promise(id, digestOf(content))
}

// fetch asks for an image's bytes ahead.
func (r *rig) fetch(t *testing.T, image string) {
	t.Helper()
	if err := plugin.BytesOf(r.Plugin).Fetch(t.Context(), plugin.BytesRequest{Image: image, Cache: "files"}); err != nil {
		t.Fatal(err)
	}
}

// Bytes that were asked for on a host are kept in its own file cache, also where it was killed meanwhile; another host on the same
// catalog leaves them to it, and shows them.
func TestBytesAskedForAheadOutliveAKill(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{}, quick, func(cfg *plugin.Config) { cfg.FillLimit = 1 })
	killed, other := c.hosts[0], c.hosts[1]
	for _, id := range []string{"one", "two"} {
		c.source.hold(id, 64<<10)
		killed.fetch(t, "gated:"+id)
	}
	c.half(t)
	killed.fetch(t, "gated:two") // keeps its one row
	if err := plugin.Kill(killed.Plugin); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each is answered after a look at the queue
		plugin.LookAtQueue(t.Context(), other.Plugin)
	}
	if rows := other.queued(t); len(rows) != 2 || rows[0].ImageID != "gated:one" || rows[1].State != "waiting" || rows[1].Form != backends.Source {
		t.Fatalf("while its host is dead: %+v, want two rows", rows)
	}
	if n := c.source.opened.Load(); n != 1 {
		t.Errorf("%d downloads while the host is dead, want its own", n)
	}
	close(c.source.gate)
	killed.open(t)
	for _, v := range killed.waitForState(t, "done", 2) {
		if v.Attempts > 2 || v.EntryID == "" || v.LastError != "" {
			t.Errorf("done: %+v", v)
		}
	}
	names := killed.keptImages(t)
	if slices.Sort(names); !slices.Equal(names, []string{"gated:one", "gated:two"}) {
		t.Errorf("kept: %v", names)
	}
	if n := c.source.opened.Load(); n != 3 {
		t.Errorf("%d downloads, want one an image, and another one for what the kill broke off", n)
	}
	checkClean(t, killed)
}

// Bytes and volumes of one image are cached by one download, in whatever order they were asked for, and each is a row of its own.
func TestBytesAndVolumesOfAnImageTakeOneDownload(t *testing.T) {
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), quick, func(cfg *plugin.Config) { cfg.FillLimit = 1 })
	source.hold("first", 64<<10)
	source.hold("disk", 64<<10)
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:first"}}) // has the only place
	<-source.half
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk"}, Backends: []backends.Name{"local"}})
	r.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk"}, Backends: []backends.Name{"files"}})
	r.fetch(t, "gated:disk")
	close(source.gate)
	r.waitForState(t, "done", 4)
	if n := source.opened.Load(); n != 2 {
		t.Errorf("%d downloads, want one an image", n)
	}
	r.wantEntries(t, 4)
	r.fetch(t, "gated:disk") // it is kept
	r.waitForState(t, "done", 4)
}

// What is taken out of the queue is not read any further, and nothing is left of it.
func TestBytesThatAreTakenOutOfTheQueueAreNotKept(t *testing.T) {
	source := newGatedSource()
	defer close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), quick)
	source.hold("disk", 64<<10)
	r.fetch(t, "gated:disk")
	<-source.half
	if _, err := r.Queue().DeleteQueued(t.Context(), r.queued(t)[0].ID); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(r.Fills()) == 0 })
	r.wantEntries(t, 0)
}

// What cannot be kept is refused at once, and what nobody may see fails in the queue with its reason.
func TestBytesThatCannotBeKept(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), quick, boundFiles(lru.Bounds{MaxBytes: mib}))
	source.put("no-digest", "1", random(64<<10))
	source.hold("too-large", 2*mib)
	for _, id := range []string{"no-digest", "too-large"} {
		err := plugin.BytesOf(r.Plugin).Fetch(t.Context(), plugin.BytesRequest{Image: "gated:" + id, Cache: "files", Token: "mine"})
		if !errors.Is(err, plugin.ErrNotKept) {
			t.Errorf("%s: %v, want ErrNotKept", id, err)
		}
	}
	absent := plugin.BytesRequest{Image: "gated:absent", Cache: "files"}
	if err := plugin.BytesOf(r.Plugin).Fetch(t.Context(), absent); !errors.Is(err, imagesource.ErrNotFound) {
		t.Errorf("absent: %v, want ErrNotFound", err)
	}
	absent.Token = "mine"
	if err := plugin.BytesOf(r.Plugin).Fetch(t.Context(), absent); err != nil {
		t.Errorf("absent, for somebody: %v", err)
	}
	if v := r.waitForState(t, "failed", 1)[0]; v.ImageID != "gated:absent" || v.LastError == "" {
		t.Errorf("failed: %+v", v)
	}
}
