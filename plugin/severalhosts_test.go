package plugin_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// cluster is several daemons in one process, on one catalog and one backend. Each has a state directory and a file cache
// of its own. Their leases last for long: a test lets them run out.
type cluster struct {
	hosts  []*rig
	source *gatedSource
	dir    string
	own    backends.Backend // of the next host that joins; nil: the one of all
	shared
}

// shared is a catalog that several hosts have, and how to change it behind their backs.
type shared struct {
	catalog.Access
	driver, dsn string // for sql.Open
}

const longLease = time.Hour

func newCluster(t *testing.T, n int, bounds lru.Bounds, more ...option) *cluster {
	t.Helper()
	c := &cluster{source: newGatedSource(), dir: fstest.Mount(t, fstest.XFS, 512*mib)}
	c.shared = newShared(t, c.dir)
	first := newRig(t, c.dir, bounds, append([]option{withSource(c.source), func(cfg *plugin.Config) {
		cfg.Host, cfg.LeaseFor = "host-0", longLease
		cfg.Catalog = c.Access
	}}, more...)...)
	c.hosts = append(c.hosts, first)
	for i := 1; i < n; i++ {
		c.join(t, fmt.Sprintf("host-%d", i))
	}
	return c
}

// faulty is a host's own view of the backend, which fails where a test wants it to.
func (c *cluster) faulty(t *testing.T, name string) (*rig, *backendtest.Faulty) {
	t.Helper()
	faulty := backendtest.NewFaulty(c.hosts[0].config.Backends[0].Backend)
	c.own = faulty
	defer func() { c.own = nil }()
	return c.join(t, name), faulty
}

// join adds a daemon.
func (c *cluster) join(t *testing.T, name string) *rig {
	t.Helper()
	own := filepath.Join(c.dir, name)
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filecache.Open(t.Context(), filecache.Config{Name: "files", Path: filepath.Join(own, "files")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	r := &rig{dir: c.dir, config: c.hosts[0].config}
	r.config.Host, r.config.StateDir, r.config.ScratchDir = name, filepath.Join(own, "state"), ""
	r.config.FileCaches = []plugin.FileCacheConfig{{Name: "files", Cache: files}}
	if c.own != nil {
		r.config.Backends = slices.Clone(r.config.Backends)
		r.config.Backends[0].Backend = c.own
	}
	r.open(t)
	c.hosts = append(c.hosts, r)
	return r
}

// sql changes the shared catalog behind everybody's back.
func (c *cluster) sql(t *testing.T, stmt string) {
	t.Helper()
	db, err := sql.Open(c.driver, c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), stmt); err != nil {
		t.Fatal(err)
	}
}

// expire lets all leases run out, as time does.
func (c *cluster) expire(t *testing.T) {
	t.Helper()
	c.sql(t, `UPDATE entries SET lease_until = 1 WHERE lease_until > 0`)
	c.sql(t, `UPDATE fill_queue SET lease_until = 1 WHERE lease_until > 0`)
	c.sql(t, `UPDATE duties SET lease_until = 1 WHERE lease_until > 0`)
}

// lose makes a daemon that has not been heard of for long.
func (c *cluster) lose(t *testing.T, name string) {
	t.Helper()
	c.sql(t, `UPDATE hosts SET alive_until = 1 WHERE name = '`+name+`'`)
}

// served is what a request came to.
type served struct {
	plugin.Answer
	err error
}

// start asks a host for a volume, and does not wait.
func (c *cluster) start(t *testing.T, host int, volume string) <-chan served {
	done := make(chan served, 1)
	go func() {
		a, err := c.hosts[host].CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: backends.VolumeName(volume)})
		done <- served{a, err}
	}()
	return done
}

// half waits until a fill has read half of its image.
func (c *cluster) half(t *testing.T) {
	t.Helper()
	select {
	case <-c.source.half:
	case <-time.After(time.Minute):
		t.Fatal("no fill came to its middle")
	}
}

// states are the hosts' states by name.
func (r *rig) states(t *testing.T) map[string]catalog.HostState {
	t.Helper()
	all, err := r.Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := make(map[string]catalog.HostState)
	for _, h := range all {
		states[h.Name] = h.State
	}
	return states
}

func (r *rig) wantStates(t *testing.T, want ...catalog.HostState) {
	t.Helper()
	got := r.states(t)
	for i, w := range want {
		if name := fmt.Sprintf("host-%d", i); got[name] != w {
			t.Errorf("%s is %q, want %q (of %v)", name, got[name], w, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("hosts: %v, want %d", got, len(want))
	}
}

func TestSeveralHostsReadAnImageOnce(t *testing.T) {
	c := newCluster(t, 3, lru.Bounds{})
	content := random(4 * mib)
	c.source.put("disk", "1", content)
	close(c.source.gate)
	var wg sync.WaitGroup
	answers := make([]served, 12)
	for i := range answers {
		wg.Go(func() { answers[i] = <-c.start(t, i%3, fmt.Sprintf("v%d", i)) })
	}
	wg.Wait()
	outcomes := make(map[plugin.Outcome]int)
	for _, a := range answers {
		if a.err != nil {
			t.Fatal(a.err)
		}
		outcomes[a.Outcome]++
		c.hosts[0].holds(t, a.Answer, content)
	}
	if outcomes[plugin.Filled] != 1 || outcomes[plugin.Joined]+outcomes[plugin.Hit] != len(answers)-1 || c.source.opened.Load() != 1 {
		t.Errorf("outcomes %v, and the source was read %d times; want one fill", outcomes, c.source.opened.Load())
	}
	for i, r := range c.hosts {
		if a := r.create(t, "gated:disk", fmt.Sprintf("again%d", i), 0); a.Outcome != plugin.Hit {
			t.Errorf("afterwards on host %d: %+v, want hit", i, a)
		}
		r.wantStates(t, catalog.HostUp, catalog.HostUp, catalog.HostUp)
		checkClean(t, r)
	}
	if err := c.hosts[2].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.hosts[0].wantStates(t, catalog.HostUp, catalog.HostUp, catalog.HostStopped)
}

// A host is killed in the middle of a fill that another one waits for. When its lease has run out, the other one fills.
func TestAKilledHostsFillIsTakenOver(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{})
	content := random(4 * mib)
	c.source.put("disk", "1", content)
	killed := c.start(t, 0, "v0")
	c.half(t)
	waits := c.start(t, 1, "v1")
	waitFor(t, func() bool { return len(c.hosts[1].Fills()) == 1 })
	if err := plugin.Kill(c.hosts[0].Plugin); err != nil {
		t.Fatal(err)
	}
	<-killed
	c.expire(t)
	c.half(t)
	close(c.source.gate)
	a := <-waits
	if a.err != nil || a.Outcome != plugin.Filled || c.source.opened.Load() != 2 {
		t.Fatalf("got %+v, %v, and the source was read %d times", a.Answer, a.err, c.source.opened.Load())
	}
	c.hosts[1].holds(t, a.Answer, content)
	c.hosts[1].wantHeld(t, 1)

	if _, err := c.hosts[1].Controls().RemoveHost(t.Context(), "host-0"); !errors.Is(err, catalog.ErrHostUp) {
		t.Errorf("remove it while it seems up: %v", err)
	}
	c.lose(t, "host-0")
	plugin.Beat(t.Context(), c.hosts[1].Plugin)
	c.hosts[1].Tidy(t.Context())
	c.hosts[1].wantStates(t, catalog.HostLost, catalog.HostUp)
	if was, err := c.hosts[1].Controls().RemoveHost(t.Context(), "host-0"); err != nil || was.State != catalog.HostLost {
		t.Errorf("remove: %+v, %v", was, err)
	}
	if got := c.hosts[1].states(t); len(got) != 1 {
		t.Errorf("hosts: %v, want host-1 alone", got)
	}
	checkClean(t, c.hosts[1])
}

// A host that was only stopped finds its lease lost: what it made goes, and its request gets what the other one made.
func TestAStoppedHostFindsItsLeaseLost(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{})
	content := random(4 * mib)
	c.source.put("disk", "1", content)
	stopped := c.start(t, 0, "v0")
	c.half(t)
	c.expire(t)
	other := c.start(t, 1, "v1")
	c.half(t)
	close(c.source.gate)
	for name, done := range map[string]<-chan served{"stopped": stopped, "other": other} {
		a := <-done
		if a.err != nil || a.Outcome == plugin.Bypassed {
			t.Fatalf("%s: %+v, %v", name, a.Answer, a.err)
		}
		if filled := a.Outcome == plugin.Filled; filled != (name == "other") {
			t.Errorf("%s: %+v", name, a.Answer)
		}
		c.hosts[0].holds(t, a.Answer, content)
	}
	c.hosts[0].wantHeld(t, 1)
	c.hosts[0].wantEntries(t, 1)
	checkClean(t, c.hosts[0])
	checkClean(t, c.hosts[1])
}

// What a host was making that is gone for good is ended though nobody asks for it again: row, claim and image-volume.
func TestALostHostsFillIsEndedByTheOthers(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	r := c.hosts[0]
	r.image(t, "disk.raw", 4*mib)
	other := newOtherHostOn(t, r, c.Access)
	e := other.begin(t, "library:disk.raw", time.Hour)
	id := backends.ImageVolumeID("cc-" + string(e.ID) + "-1")
	if err := other.RecordStage(t.Context(), e.ID, 1, id, backends.Decoded, 4*mib); err != nil {
		t.Fatal(err)
	}
	d := backends.Description{EntryID: e.ID, Attempt: 1}
	stage, err := r.config.Backends[0].Backend.Stage(t.Context(), backends.StageSpec{ID: id, VirtualBytes: 4 * mib, Description: d})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stage.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	r.Tidy(t.Context())
	r.wantEntries(t, 1)
	r.wantHeld(t, 1)
	c.expire(t)
	r.Tidy(t.Context())
	r.wantEntries(t, 0)
	r.wantHeld(t, 0)
	checkClean(t, r)
}

// What a stopped host was writing to can be removed only once its cluster has missed that host: the takeover waits.
func TestATakeoverWaitsForWhatTheOtherHostHasOpen(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	content := c.hosts[0].image(t, "disk.raw", 4*mib)
	other := newOtherHostOn(t, c.hosts[0], c.Access)
	e := other.begin(t, "library:disk.raw", time.Hour)
	if err := other.RecordStage(t.Context(), e.ID, 1, backends.ImageVolumeID("cc-"+string(e.ID)+"-1"), backends.Decoded, 4*mib); err != nil {
		t.Fatal(err)
	}
	r, faulty := c.faulty(t, "host-1")
	faulty.FailBefore(backendtest.MethodRetire, 1, backends.ErrInUse)
	faulty.FailBefore(backendtest.MethodRetire, 2, backends.ErrUnavailable)
	c.expire(t)
	a := r.create(t, "library:disk.raw", "v1", 0)
	if a.Outcome != plugin.Filled {
		t.Errorf("got %+v, want filled", a)
	}
	r.holds(t, a, content)
	r.wantHeld(t, 1)
	checkClean(t, r)
}

// A host that begins leaves what others are doing, and ends it once their leases have run out.
func TestAnEvictionOfAnotherHostIsLeftToIt(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	r := c.hosts[0]
	r.image(t, "disk.raw", 4*mib)
	r.create(t, "library:disk.raw", "v1", 0)
	e := r.wantEntries(t, 1)[0]
	access := catalog.Config{Access: c.Access, Daemon: "another-host", Incarnation: "1", LeaseFor: time.Hour}
	other, err := catalog.Open(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.BeginEvict(t.Context(), catalog.EntryID(e.ID), catalog.CauseAdmin); err != nil {
		t.Fatal(err)
	}
	later := c.join(t, "host-1")
	for _, r := range c.hosts {
		r.Tidy(t.Context())
	}
	if e := later.wantEntries(t, 1)[0]; e.State != "evicting" {
		t.Errorf("entry: %+v, want it evicting still", e)
	}
	c.expire(t)
	c.sql(t, `UPDATE fill_queue SET lease_until = 1 WHERE lease_until > 0`)
	c.sql(t, `UPDATE duties SET done_at = 1`) // it is due again
	later.Tidy(t.Context())
	later.wantEntries(t, 0)
	checkClean(t, r)
}

// What one host is mending, another one that begins leaves to it, and does itself once the lease has run out.
func TestADutyOfAnotherHostIsLeftToIt(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	r := c.hosts[0]
	content := r.image(t, "disk.raw", 4*mib)
	r.create(t, "library:disk.raw", "v0", 0)
	store := r.wantEntries(t, 1)[0].StoreID
	other := newOtherHostOn(t, r, c.Access)
	if err := other.Arrive(t.Context(), catalog.Arrival{Holder: other.holder, Name: "host-1", AliveFor: longLease}); err != nil {
		t.Fatal(err)
	}
	spec := catalog.DutySpec{Duty: catalog.DutyReconcile, Store: store, Holder: other.holder, LeaseFor: longLease}
	if _, start, err := other.TakeDuty(t.Context(), spec); err != nil || start != catalog.OnDuty {
		t.Fatalf("take duty: %v, %v", start, err)
	}
	all, err := r.Hosts(t.Context())
	if err != nil || len(all) != 2 || len(all[1].Leases) != 1 || all[1].Leases[0].Duty != catalog.DutyReconcile || all[1].Leases[0].Backend != "local" {
		t.Errorf("hosts: %+v, %v, want the duty with host-1", all, err)
	}

	c.sql(t, `DELETE FROM entries`) // its image-volume is in no entry now
	later := c.join(t, "host-2")
	later.wantEntries(t, 0)
	later.Tidy(t.Context())
	later.wantEntries(t, 0)
	c.expire(t)
	later.Tidy(t.Context())
	later.wantEntries(t, 1)
	a := later.create(t, "library:disk.raw", "v1", 0)
	if a.Outcome != plugin.Hit {
		t.Errorf("after it was adopted: %+v", a)
	}
	later.holds(t, a, content)
	checkClean(t, later)
}

// What is cached on a host's own file cache is that host's, and nobody's leftover.
func TestAFileCacheIsItsHostsOwn(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{MaxBytes: mib})
	c.hosts[0].image(t, "disk.raw", 4*mib)
	if a := c.hosts[0].create(t, "library:disk.raw", "v0", 0); a.Outcome != plugin.Copied {
		t.Fatalf("got %+v, want copied", a)
	}
	checkClean(t, c.hosts[1])
	plugin.Beat(t.Context(), c.hosts[1].Plugin)
	e := c.hosts[1].wantEntries(t, 1)[0]
	if !e.Configured || e.Host != "host-0" {
		t.Errorf("entry: configured %v, host %q, want that of host-0", e.Configured, e.Host)
	}
	if _, err := c.hosts[1].DeleteEntry(t.Context(), e.ID, true); !errors.Is(err, plugin.ErrElsewhere) {
		t.Errorf("delete: %v, want ErrElsewhere", err)
	}
	if err := c.hosts[0].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkClean(t, c.hosts[1])
	if _, err := c.hosts[1].Controls().RemoveHost(t.Context(), "host-0"); err != nil {
		t.Fatal(err)
	}
	c.hosts[1].wantProblem(t, plugin.CheckOptions{}, "not-configured", "1 entries")
	if _, err := c.hosts[1].DeleteEntry(t.Context(), e.ID, true); err != nil {
		t.Errorf("delete, once its host is removed: %v", err)
	}
}

// An entry that another host has evicted is noticed at the clone, and looked for anew.
func TestAnEntryThatAnotherHostEvictedIsLookedForAnew(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{})
	content := c.hosts[0].image(t, "disk.raw", 4*mib)
	for i, r := range c.hosts {
		r.create(t, "library:disk.raw", fmt.Sprintf("v%d", i), 0)
	}
	e := c.hosts[0].wantEntries(t, 1)[0]
	if _, err := c.hosts[0].DeleteEntry(t.Context(), e.ID, true); err != nil {
		t.Fatal(err)
	}
	again := c.hosts[0].create(t, "library:disk.raw", "again0", 0)
	a := c.hosts[1].create(t, "library:disk.raw", "again1", 0)
	if again.Outcome != plugin.Filled || a.Outcome != plugin.Hit || a.EntryID != again.EntryID {
		t.Errorf("got %+v, then %+v, want a fill and a hit on it", again, a)
	}
	c.hosts[1].holds(t, a, content)
	checkClean(t, c.hosts[1])
}

func TestAHostWhoseCatalogIsAwayServesHitsAndBypassesMisses(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	r := c.hosts[0]
	r.image(t, "cached.raw", mib)
	r.image(t, "new.raw", mib)
	r.create(t, "library:cached.raw", "v0", 0)
	plugin.LoseCatalog(r.Plugin)
	if away := r.CatalogAway(); away == nil || away.Since.IsZero() {
		t.Errorf("away: %+v", away)
	}
	if a := r.create(t, "library:cached.raw", "v1", 0); a.Outcome != plugin.Hit {
		t.Errorf("cached: %+v, want hit", a)
	}
	if a := r.create(t, "library:new.raw", "v2", 0); a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonCatalogDown {
		t.Errorf("new: %+v, want bypassed, %s", a, plugin.ReasonCatalogDown)
	}
	r.noVolume(t, "v2")
	plugin.Beat(t.Context(), r.Plugin)
	if a := r.create(t, "library:new.raw", "v3", 0); a.Outcome != plugin.Filled || r.CatalogAway() != nil {
		t.Errorf("once it is back: %+v", a)
	}
	checkClean(t, r)
}

// Who follows events on one host is told of those of all.
func TestEventsOfOtherHostsAreFollowed(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{})
	c.hosts[0].image(t, "disk.raw", mib)
	seen := errors.New("seen")
	done := make(chan error, 1)
	go func() {
		done <- c.hosts[1].FollowEvents(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventFilled}}, func(e plugin.Event) error {
			if e.ImageID != "library:disk.raw" {
				return fmt.Errorf("event %+v", e)
			}
			return seen
		})
	}()
	c.hosts[0].create(t, "library:disk.raw", "v0", 0)
	select {
	case err := <-done:
		if !errors.Is(err, seen) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the event was never told of")
	}
}

// A start that is refused leaves no host that seems to be up.
func TestAStartThatIsRefusedLeavesNoHostUp(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	refused := c.hosts[0].config
	refused.Host, refused.StateDir, refused.ScratchDir = "host-1", filepath.Join(c.dir, "refused"), ""
	refused.Catalog = catalog.Access{URL: catalog.FileURL(filepath.Join(c.dir, "another.db"))}
	if p, err := plugin.Open(t.Context(), refused); !errors.Is(err, backends.ErrHeld) {
		t.Fatalf("open on another installation's store: %v, %v, want ErrHeld", p, err)
	}
	other, err := catalog.Open(t.Context(), catalog.Config{Access: refused.Catalog})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	all, err := other.Hosts(t.Context())
	if err != nil || len(all) != 1 || all[0].State != catalog.HostStopped {
		t.Errorf("hosts: %+v, %v, want one that has stopped", all, err)
	}
}

// One host alone, on SQLite, is the one that is listed.
func TestOneHostIsListed(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, func(c *plugin.Config) { c.Host, c.Version = "alone", "v9" })
	all, err := r.Hosts(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("hosts: %+v, %v", all, err)
	}
	id, err := plugin.InstanceOf(r.config.StateDir)
	h := all[0]
	if err != nil || h.ID != id || h.Name != "alone" || h.Version != "v9" || h.State != catalog.HostUp || h.LastSeenAt.IsZero() || h.Leases == nil {
		t.Errorf("host: %+v, %v", h, err)
	}
}

// A host whose clock is years ahead takes nothing of what all have for old.
func TestAHostsWrongClockEndsNothing(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	r := c.hosts[0]
	r.image(t, "disk.raw", mib)
	r.create(t, "library:disk.raw", "v0", 0)
	before, err := r.Report(t.Context(), "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	ahead := r.config
	ahead.Now = func() time.Time { return time.Now().AddDate(5, 0, 0) }
	ahead.Backends = slices.Clone(ahead.Backends)
	ahead.Backends[0].MaxIdle = 24 * time.Hour
	c.hosts[0].config = ahead
	wrong := c.join(t, "host-1")
	c.hosts[0].config = r.config
	wrong.Tidy(t.Context())
	if _, err := wrong.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pruned, err := wrong.Prune(t.Context()); err != nil || len(pruned.Removed) > 0 {
		t.Errorf("prune what is idle for a day: %+v, %v", pruned, err)
	}
	after, err := r.Report(t.Context(), "", time.Time{})
	if err != nil || after.Total.Fills != before.Total.Fills {
		t.Errorf("fills in the report: %d before, %d after, %v", before.Total.Fills, after.Total.Fills, err)
	}
	wrong.wantEntries(t, 1)
}
