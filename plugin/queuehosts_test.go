package plugin_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// Each image is one daemon's; what a killed one had begun is another one's once its lease has run out.
func TestAKilledHostsPartOfTheQueueGoesOnElsewhere(t *testing.T) {
	const many = 20
	c := newCluster(t, 2, lru.Bounds{}, quick, func(cfg *plugin.Config) { cfg.FillLimit = 2 })
	var images []string
	for i := range many {
		id := fmt.Sprint("disk-", i)
		c.source.put(id, "1", random(64<<10))
		images = append(images, "gated:"+id)
	}
	c.hosts[0].prefetch(t, plugin.Prefetch{Images: images})
	for range 4 {
		c.half(t)
	}
	running := slices.DeleteFunc(c.hosts[1].queued(t), func(v plugin.QueuedView) bool { return v.State != "running" })
	by := make(map[plugin.InstanceID]int)
	for _, v := range running {
		by[v.InstanceID]++
	}
	if len(running) != 4 || len(by) != 2 {
		t.Fatalf("running: %+v, want two on each of two hosts", running)
	}
	if err := plugin.Kill(c.hosts[0].Plugin); err != nil {
		t.Fatal(err)
	}
	c.expire(t)
	close(c.source.gate)
	survivor := c.hosts[1]
	for _, v := range survivor.waitForState(t, "done", many) {
		if v.Attempts > 2 || v.EntryID == "" {
			t.Errorf("done: %+v", v)
		}
	}
	if n := c.source.opened.Load(); n < many+2 || n > many+4 {
		t.Errorf("%d downloads, want one for each of %d images, and another one for what the killed host had begun", n, many)
	}
	survivor.wantEntries(t, many)
	for i, image := range images {
		if a := survivor.create(t, image, fmt.Sprint("v", i), 0); a.Outcome != plugin.Hit {
			t.Errorf("%s: %+v, want a hit", image, a)
		}
	}
}

// A process that was stopped for longer than a lease takes its own row anew, and joins the fill that it had begun.
func TestWhatIsTakenAnewEndsWhenItIsDeleted(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{}, quick)
	defer close(c.source.gate)
	host := c.hosts[0]
	c.source.put("disk", "1", random(64<<10))
	host.prefetch(t, plugin.Prefetch{Images: []string{"gated:disk"}, Backends: []backends.Name{"local"}})
	c.half(t)
	c.expire(t)
	waitFor(t, func() bool { return host.queued(t)[0].Attempts == 2 })
	if _, err := host.Queue().DeleteQueued(t.Context(), host.queued(t)[0].ID); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(host.Fills()) == 0 })
	host.wantEntries(t, 0)
}

// What only one host has is left to it, and is given up once that host is removed.
func TestAStoreOfOneHostIsItsOwnToFill(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{}, quick)
	close(c.source.gate)
	c.source.put("disk", "1", random(64<<10))
	c.source.put("later", "1", random(64<<10))
	ahead := func(image string) {
		c.hosts[0].prefetch(t, plugin.Prefetch{Images: []string{image}, Backends: []backends.Name{"files"}})
	}
	ahead("gated:disk")
	done := c.hosts[1].waitForState(t, "done", 1)[0]
	if done.Attempts != 1 || done.LastError != "" {
		t.Errorf("done: %+v", done)
	}
	if err := c.hosts[0].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.sql(t, `UPDATE fill_queue SET state = 'waiting', attempts = 0, entry_id = ''`)
	for range 3 { // each is answered after a look at the queue
		plugin.LookAtQueue(t.Context(), c.hosts[1].Plugin)
	}
	if v := c.hosts[1].queued(t)[0]; v.State != "waiting" || v.Attempts != 0 {
		t.Errorf("while its host is stopped: %+v, want it to wait", v)
	}
	if _, err := c.hosts[1].Controls().RemoveHost(t.Context(), "host-0"); err != nil {
		t.Fatal(err)
	}
	if v := c.hosts[1].waitForState(t, "failed", 1)[0]; v.LastError == "" {
		t.Errorf("after its host was removed: %+v, want why", v)
	}
}

// A host that still knows an entry which another one has evicted caches the image anew when it is asked to.
func TestAPrefetchOnAHostWhoseEntryAnotherOneEvicted(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{}, quick)
	c.hosts[0].image(t, "disk.raw", mib)
	for i, r := range c.hosts {
		r.create(t, "library:disk.raw", fmt.Sprint("v", i), 0)
	}
	e := c.hosts[0].wantEntries(t, 1)[0]
	if _, err := c.hosts[0].DeleteEntry(t.Context(), e.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := c.hosts[0].Close(t.Context()); err != nil { // so that the other one does it
		t.Fatal(err)
	}
	c.hosts[1].prefetch(t, plugin.Prefetch{Images: []string{"library:disk.raw"}})
	done := c.hosts[1].waitForState(t, "done", 1)[0]
	if fresh := c.hosts[1].wantEntries(t, 1)[0]; fresh.ID == e.ID || fresh.ID != done.EntryID {
		t.Errorf("done: %+v, entry %s, want one that was filled", done, fresh.ID)
	}
	checkClean(t, c.hosts[1])
}
