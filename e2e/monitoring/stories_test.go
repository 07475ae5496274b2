//go:build databases

package monitoring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// story is what alerts are about: cause lets it happen, to last until mend has returned.
type story struct {
	alerts []string
	cause  func(*testing.T) (mend func())
}

// tell lets it happen: its alerts fire meanwhile, and end after it.
func (f *fleet) tell(t *testing.T, s story) {
	t.Helper()
	mend := s.cause(t)
	for _, alert := range s.alerts {
		f.fires(t, "Clonecache"+alert)
	}
	mend()
	for _, alert := range s.alerts {
		f.ends(t, "Clonecache"+alert)
	}
}

// Each alert that is shipped fires while what it is about happens to one of three daemons, and ends after it, as a real
// Prometheus finds that scrapes them.
func TestEachAlertIsOfSomethingThatHappens(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: tests that run the daemon are left out")
	}
	f := newFleet(t)
	harness.Until(t, "three daemons are scraped", func() bool { return f.has(t, "count(up == 1) == 3") })
	promtool(t, t.TempDir(), f.scraped(t, f.metricsOfB), "check", "metrics")
	f.tell(t, story{[]string{"CacheErrors"}, f.stateIsFull})
	t.Run("at once", func(t *testing.T) {
		for _, s := range []story{
			{[]string{"SourceDown"}, f.mirrorIsDown},
			{[]string{"BackendDown"}, f.directoryIsGone},
			{[]string{"Bypasses"}, f.quotaIsUsed},
			{[]string{"BackendFull"}, f.diskIsFull},
			{[]string{"FillsFail", "QueueStuck"}, f.imageIsBroken},
			{[]string{"FillsWait"}, f.sourceIsSlow},
			{[]string{"HitsSlow"}, f.diskIsSlow},
			{[]string{"ImageVolumesDamaged"}, f.bitFlips},
			{[]string{"EventsDead"}, f.booksRefuse},
		} {
			t.Run(s.alerts[0], func(t *testing.T) {
				t.Parallel()
				f.tell(t, s)
			})
		}
		t.Run("EventsBehind", func(t *testing.T) {
			t.Parallel()
			f.tell(t, story{[]string{"EventsBehind"}, f.pagerIsDown})
			f.fired(t, "ClonecacheEventsLost") // the log had not kept all of them, which is counted at some time meanwhile
			f.ends(t, "ClonecacheEventsLost")
		})
	})
	f.tell(t, story{[]string{"QuotaUnknown", "QuotaNearlyUsed"}, f.quotasAreWrong})
	f.tell(t, story{[]string{"Down", "HostLost"}, f.hostDies})
	f.tell(t, story{[]string{"CatalogAway"}, f.databaseDies})
	if never := f.never(t); never != "" && !t.Failed() {
		t.Errorf("did not fire: %s", never)
	}
}

// asks keeps asking for volumes of an image, each with a name of its own; what it comes to is the story's.
func asks(t *testing.T, d *harness.Daemon, backend, image, prefix string) (stop func()) {
	t.Helper()
	c := d.Client(t)
	return keep(t, func(ctx context.Context, n int) { _, _ = c.CreateVolume(ctx, request(backend, image, prefix, n), nil) })
}

func request(backend, image, prefix string, n int) api.CreateRequest {
	return api.CreateRequest{Backend: backends.Name(backend), Image: image, Volume: backends.VolumeName(fmt.Sprintf("%s-%d", prefix, n))}
}

// The disk of a state_dir is full: no intent can be noted.
func (f *fleet) stateIsFull(t *testing.T) (mend func()) {
	giveBack := takeAllSpace(t, f.state.Dir)
	stop := asks(t, f.b, "small", "library:one.raw", "unnoted")
	return func() { stop(); giveBack() }
}

// The server of a source goes away; that it is back is found by the next request.
func (f *fleet) mirrorIsDown(t *testing.T) (mend func()) {
	exit, _, failed := f.a.TryCreate(t, harness.Volume{Image: "mirror:any.raw", Name: "mirrored", Flags: []string{"--backend", "fast"}})
	if exit == 0 {
		t.Fatalf("a source that is not there: exit %d, %+v", exit, failed)
	}
	return func() {
		f.mirror.comes(t)
		f.a.Create(t, harness.Volume{Image: "mirror:any.raw", Name: "mirrored", Flags: []string{"--backend", "fast"}})
	}
}

// A directory is not there any more, as where its filesystem was unmounted.
func (f *fleet) directoryIsGone(t *testing.T) (mend func()) {
	at, away := filepath.Join(f.far.Dir, "far"), filepath.Join(f.far.Dir, "away")
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(at, away)
	return func() { move(away, at) }
}

// Two image-volumes are all that the internal tenant may have, and they are there: others are bypassed.
func (f *fleet) quotaIsUsed(t *testing.T) (mend func()) {
	return asks(t, f.b, "small", "library:three.raw", "bypassed")
}

// One quota is used since the daemon began, and is raised then; of another one Keystone was not there, and is then. Each is
// asked for twice a minute, and by a daemon that begins.
func (f *fleet) quotasAreWrong(t *testing.T) (mend func()) {
	return func() {
		f.keystone.comes(t)
		f.c.Restart(t)
		f.b.Config.Tables = f.shared(f.metricsOfB) + f.tablesOfB(10)
		f.b.Reconfigure(t)
		f.b.Restart(t)
		if a := f.b.Create(t, harness.Volume{Image: "library:three.raw", Name: "allowed", Flags: []string{"--backend", "small"}}); a.Outcome != plugin.Filled {
			t.Errorf("within the quota: got %+v, want it filled", a)
		}
	}
}

// Somebody else fills the backend's filesystem.
func (f *fleet) diskIsFull(t *testing.T) (mend func()) { return takeAllSpace(t, f.plain.Dir) }

// An image was damaged where it comes from: requests for it fail, and so does the queue, until it is mended.
func (f *fleet) imageIsBroken(t *testing.T) (mend func()) {
	broken, whole := filepath.Join(f.images, "broken.raw.gz"), filepath.Join(f.images, "whole.raw")
	harness.SmallDisk(t, whole, 5, imageSize, imageSize)
	harness.Must(t, "sh", "-c", fmt.Sprintf("gzip -1 <%s | head -c 200000 >%s", whole, broken))
	c := f.a.Client(t)
	if _, err := c.Prefetch(t.Context(), api.PrefetchRequest{Images: []string{"library:broken.raw.gz"}, Backends: []backends.Name{"second"}}); err != nil {
		t.Fatal(err)
	}
	stop := asks(t, f.a, "second", "library:broken.raw.gz", "broken")
	return func() {
		stop()
		harness.Must(t, "sh", "-c", fmt.Sprintf("gzip -1 <%s >%s.new && mv %[2]s.new %[2]s", whole, broken))
		if r := f.a.CLI(t, "queue", "retry", "--all"); r.Exit != 0 {
			t.Errorf("queue retry: %+v", r)
		}
	}
}

// A dozen requesters want images of a source that is read one at a time, half a second each.
func (f *fleet) sourceIsSlow(t *testing.T) (mend func()) {
	f.web.SetRate(imageSize / 2)
	var stops []func()
	for n := range 12 {
		c := f.a.Client(t)
		stops = append(stops, keep(t, func(ctx context.Context, i int) {
			prefix := fmt.Sprintf("wait-%d", n)
			_, _ = c.CreateVolume(ctx, request("fast", fmt.Sprintf("web:%s-%d.raw", prefix, i), prefix, i), nil)
		}))
	}
	return func() {
		var all sync.WaitGroup
		for _, stop := range stops {
			all.Go(stop)
		}
		all.Wait()
	}
}

// The backend's disk holds each write up for more than a second.
func (f *fleet) diskIsSlow(t *testing.T) (mend func()) {
	c := f.b.Client(t)
	return keep(t, func(ctx context.Context, n int) {
		var asked sync.WaitGroup
		defer asked.Wait()
		ended := make(chan error, 1)
		asked.Go(func() { ended <- frozen(ctx, f.small.Dir, 1200*time.Millisecond) })
		_, err := c.CreateVolume(ctx, request("small", "library:one.raw", "slow", n), nil)
		if freezing := <-ended; errors.Join(err, freezing) != nil && ctx.Err() == nil {
			t.Errorf("hit on a slow disk: %v, %v", err, freezing)
		}
	})
}

// A bit of an image-volume flips on the disk; the scrub puts it into quarantine, until it is deleted.
func (f *fleet) bitFlips(t *testing.T) (mend func()) {
	made := f.a.Create(t, harness.Volume{Image: "library:one.raw", Name: "flipped", Flags: []string{"--backend", "fast"}})
	entries := f.a.Entries(t)
	at := slices.IndexFunc(entries, func(e plugin.EntryView) bool { return e.ID == made.EntryID })
	if at < 0 {
		t.Fatalf("entry %s is not there", made.EntryID)
	}
	volume := filepath.Join(f.fast.Dir, "fast/.clonecache/image-volumes", entries[at].ImageVolume)
	f.fast.FlipBit(t, volume, 11)
	if r := f.a.CLI(t, "scrub", "--share", "100"); r.Exit != 8 {
		t.Fatalf("scrub: %+v, want exit code 8", r)
	}
	return func() {
		if r := f.a.CLI(t, "entry", "delete", made.EntryID); r.Exit != 0 {
			t.Errorf("delete: %+v", r)
		}
	}
}

// A webhook's receiver refuses each event for good.
func (f *fleet) booksRefuse(t *testing.T) (mend func()) {
	f.booked.status.Store(410)
	f.a.Create(t, harness.Volume{Image: "library:two.raw", Name: "refused", Flags: []string{"--backend", "fast"}})
	return func() { f.booked.status.Store(200) }
}

// A webhook's receiver is not there, while more happens than the log keeps.
func (f *fleet) pagerIsDown(t *testing.T) (mend func()) {
	f.a.Create(t, harness.Volume{Image: "library:one.raw", Name: "paged", Flags: []string{"--backend", "second"}})
	for n := range 50 {
		f.a.Create(t, harness.Volume{Image: "library:one.raw", Name: fmt.Sprintf("unheard-%d", n), Flags: []string{"--backend", "second"}})
	}
	return func() { f.pager.comes(t) }
}

// A host dies. That it said that it lives is made a minute older, which is what two leases take.
func (f *fleet) hostDies(t *testing.T) (mend func()) {
	f.c.Kill()
	id, err := os.ReadFile(filepath.Join(f.c.State, "instance-id"))
	if err != nil {
		t.Fatal(err)
	}
	f.db.Do(t, fmt.Sprintf("UPDATE %s.hosts SET last_seen_at = last_seen_at - 60000000, alive_until = alive_until - 60000000 WHERE id = '%s'",
		f.catalog.Database, strings.TrimSpace(string(id))))
	return func() { f.c.Start(t) }
}

// The catalog's database dies.
func (f *fleet) databaseDies(t *testing.T) (mend func()) {
	f.db.Kill(t)
	return func() { f.db.Again(t) }
}
