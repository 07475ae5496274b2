package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// withWeb adds an HTTP source "web" to the configuration.
func withWeb(tb testing.TB, c harness.Config) (harness.Config, *harness.WebSource) {
	tb.Helper()
	needDaemon(tb)
	web := harness.ServeWeb(tb)
	c.Web = map[string]string{"web": web.URL}
	return c, web
}

// webImage puts a small raw image behind the source.
func webImage(tb testing.TB, web *harness.WebSource, name string, size int64) string {
	tb.Helper()
	disk := filepath.Join(web.Dir, name)
	harness.SmallDisk(tb, disk, 77, size, size)
	return disk
}

// A hundred first requests at the same time read the source once: one fills, the others join it.
func TestAHundredFirstRequestsReadTheSourceOnce(t *testing.T) {
	c, web := withWeb(t, harness.Config{})
	disk := webImage(t, web, "herd.raw", 8*mib)
	d := cloning(t, c)
	reached, release := web.HoldAt(t, "herd.raw", 4*mib)

	const requests = 100
	answers, failures := make([]plugin.Answer, requests), make([]error, requests)
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			answers[i], failures[i] = d.Client(t).CreateVolume(t.Context(), api.CreateRequest{
				Image: "web:herd.raw", Volume: backends.VolumeName(fmt.Sprintf("v%d", i)), SizeBytes: 8 * mib,
			}, nil)
		})
	}
	<-reached
	client := d.Client(t)
	harness.Until(t, "all requests wait for one fill", func() bool {
		fills, err := client.Fills(t.Context())
		return err == nil && len(fills) == 1 && fills[0].Waiters == requests
	})
	release()
	all.Wait()

	outcomes := map[plugin.Outcome]int{}
	var downloaded int64
	for i, a := range answers {
		if failures[i] != nil {
			t.Fatalf("request %d: %v", i, failures[i])
		}
		outcomes[a.Outcome]++
		downloaded += a.DownloadedBytes
		harness.SameContent(t, a.Path, disk, 8*mib)
	}
	if outcomes[plugin.Filled] != 1 || outcomes[plugin.Joined] != requests-1 {
		t.Errorf("outcomes: got %v, want 1 filled and %d joined", outcomes, requests-1)
	}
	if gets, sent := web.Gets("herd.raw"), web.Sent("herd.raw"); gets != 1 || sent != 8*mib || downloaded != 8*mib {
		t.Errorf("source: got %d GETs, %d bytes sent, %d reported; want 1, %d, %d", gets, sent, downloaded, 8*mib, 8*mib)
	}
	d.Consistent(t)
}

// A download that breaks goes on where it broke.
func TestABrokenDownloadIsResumed(t *testing.T) {
	c, web := withWeb(t, harness.Config{})
	disk := webImage(t, web, "broken.raw", 8*mib)
	web.CutAt("broken.raw", 3*mib, 5*mib)
	d := cloning(t, c)
	got := d.Create(t, harness.Volume{Image: "web:broken.raw", Name: "v"})
	harness.SameContent(t, got.Path, disk, 8*mib)
	if gets, sent := web.Gets("broken.raw"), web.Sent("broken.raw"); gets != 3 || sent > 9*mib {
		t.Errorf("source: got %d GETs and %d bytes; want 3, and little more than %d", gets, sent, 8*mib)
	}
}

// Callers who give up do not end a fill that another waits for; the last one who does, ends it.
func TestAFillLivesUntilItsLastWaiterLeaves(t *testing.T) {
	c, web := withWeb(t, harness.Config{})
	disk := webImage(t, web, "slow.raw", 8*mib)
	d := cloning(t, c)
	reached, release := web.HoldAt(t, "slow.raw", 2*mib)
	client := d.Client(t)
	waiters := func(n int) {
		t.Helper()
		harness.Until(t, fmt.Sprintf("%d requests wait", n), func() bool {
			fills, err := client.Fills(t.Context())
			if err != nil || n == 0 {
				return err == nil && len(fills) == 0
			}
			return len(fills) == 1 && fills[0].Waiters == n
		})
	}
	first, second := begin(t, d, "web:slow.raw", "first"), begin(t, d, "web:slow.raw", "second")
	<-reached
	waiters(2)
	first.leave()
	waiters(1)
	release()
	second.wait()
	if second.err != nil {
		t.Fatalf("the one who stayed: %v", second.err)
	}
	harness.SameContent(t, second.answer.Path, disk, 8*mib)

	webImage(t, web, "alone.raw", 6*mib)
	reached, _ = web.HoldAt(t, "alone.raw", 2*mib)
	alone := begin(t, d, "web:alone.raw", "alone")
	<-reached
	alone.leave()
	waiters(0)
	if got := len(d.Volumes(t)); got != 1 {
		t.Errorf("volumes: got %d, want only that of the one who stayed", got)
	}
	harness.Until(t, "nothing is left of the fill", func() bool { return len(d.Leftovers(t)) == 0 })
	d.Consistent(t)
}

// A request that does not want to wait is answered at once, and finds the image cached later.
func TestABackgroundFillGoesOnWithoutItsCaller(t *testing.T) {
	c, web := withWeb(t, harness.Config{})
	webImage(t, web, "later.raw", 8*mib)
	d := cloning(t, c)
	_, release := web.HoldAt(t, "later.raw", 2*mib)
	exit, got, _ := d.TryCreate(t, harness.Volume{Image: "web:later.raw", Name: "v", Flags: []string{"--on-miss", "background"}})
	if exit != harness.ExitBypassed || got.Outcome != plugin.Bypassed || got.Reason != plugin.ReasonFilling {
		t.Errorf("got exit %d, %s, %s; want %d, bypassed, filling", exit, got.Outcome, got.Reason, harness.ExitBypassed)
	}
	release()
	harness.Until(t, "the image is cached", func() bool {
		entries := d.Entries(t)
		return len(entries) == 1 && entries[0].State == "ready"
	})
	if got := d.Create(t, harness.Volume{Image: "web:later.raw", Name: "v"}); got.Outcome != plugin.Hit {
		t.Errorf("afterwards: got %s, want hit", got.Outcome)
	}
}

// Two images of equal content share one image-volume.
func TestEqualContentIsCachedOnce(t *testing.T) {
	needDaemon(t)
	d := cloning(t, harness.Config{})
	ref, disk := addImage(t, d, 1)
	if err := os.Link(disk, filepath.Join(d.Config.Images, "same.raw")); err != nil {
		t.Fatal(err)
	}
	d.Create(t, harness.Volume{Image: ref, Name: "a"})
	d.Create(t, harness.Volume{Image: "library:same.raw", Name: "b"})
	entries := d.Entries(t)
	if len(entries) != 1 || len(entries[0].ImageIDs) != 2 {
		t.Errorf("entries: got %+v, want one with two image IDs", entries)
	}
	if got := d.Create(t, harness.Volume{Image: "library:same.raw", Name: "c"}); got.Outcome != plugin.Hit {
		t.Errorf("the other name again: got %s, want hit", got.Outcome)
	}
	d.Consistent(t)
}

// A changed image is another image.
func TestAChangedImageIsFilledAnew(t *testing.T) {
	d := cloning(t, harness.Config{})
	ref, disk := addImage(t, d, 1)
	d.Create(t, harness.Volume{Image: ref, Name: "old"})
	harness.SmallDisk(t, disk, 1000, imageSize, imageSize)
	got := d.Create(t, harness.Volume{Image: ref, Name: "new"})
	if got.Outcome != plugin.Filled {
		t.Errorf("got %s, want filled", got.Outcome)
	}
	harness.SameContent(t, got.Path, disk, imageSize)
}

// pending is a request in flight.
type pending struct {
	leave  func()
	done   chan struct{}
	answer plugin.Answer
	err    error
}

func (p *pending) wait() { <-p.done }

// begin sends a request and does not wait for its answer.
func begin(tb testing.TB, d *harness.Daemon, image, volume string) *pending {
	tb.Helper()
	client := d.Client(tb)
	ctx, cancel := contextOf(tb)
	p := &pending{leave: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.answer, p.err = client.CreateVolume(ctx, api.CreateRequest{Image: image, Volume: backends.VolumeName(volume)}, nil)
	}()
	tb.Cleanup(func() { cancel(); <-p.done })
	return p
}
