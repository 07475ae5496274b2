package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func contextOf(tb testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(tb.Context())
}

// A daemon that is killed while it fills leaves nothing, neither on a filesystem that clones nor on one
// that copies, and the repeated request ends as if nothing had happened.
func TestKilledInTheMiddleOfAFill(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			c, web := withWeb(t, harness.Config{})
			disk := webImage(t, web, "half.raw", 16*mib)
			d := on(t, kind, c)
			reached, release := web.HoldAt(t, "half.raw", 9*mib)
			p := begin(t, d, "web:half.raw", "v")
			<-reached
			d.Kill()
			p.wait()
			if p.err == nil {
				t.Fatalf("the request was answered: %+v", p.answer)
			}
			release()

			d.Start(t)
			if got := len(d.Entries(t)) + len(d.Volumes(t)); got != 0 {
				t.Errorf("entries and volumes after the restart: got %d, want 0", got)
			}
			d.Consistent(t)
			got := d.Create(t, harness.Volume{Image: "web:half.raw", Name: "v"})
			harness.SameContent(t, got.Path, disk, 16*mib)
			d.Consistent(t)
		})
	}
}

// Killed at any moment while many clone, fill and evict at once, the daemon starts again with nothing
// left over and every volume whole.
func TestKilledUnderLoad(t *testing.T) {
	d := cloning(t, harness.Config{MaxCount: 2, CacheMaxCount: 2})
	const images = 4
	var disks [images + 1]string
	for n := 1; n <= images; n++ {
		_, disks[n] = addImage(t, d, n)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 8 {
		var all sync.WaitGroup
		ctx, cancel := contextOf(t)
		for worker := range 6 {
			all.Go(func() { load(ctx, d.Client(t), round, worker, images) })
		}
		<-time.After(time.Duration(20+random.IntN(400)) * time.Millisecond) // the kill may come at any time
		d.Kill()
		cancel()
		all.Wait()
		d.Start(t)
		d.Consistent(t)
	}
	for _, v := range d.Volumes(t) {
		var n int
		if _, err := fmt.Sscanf(v.ImageID, "library:image-%d.raw", &n); err != nil {
			t.Fatalf("image of volume %s: %q", v.Volume, v.ImageID)
		}
		harness.SameContent(t, v.Path, disks[n], imageSize)
	}
}

// load asks for volumes of changing images until the daemon is gone.
func load(ctx context.Context, client *api.Client, round, worker, images int) {
	for i := 0; ctx.Err() == nil; i++ {
		_, err := client.CreateVolume(ctx, api.CreateRequest{
			Image:  imageRef(1 + (i+worker)%images),
			Volume: backends.VolumeName(fmt.Sprintf("v-%d-%d-%d", round, worker, i)),
		}, nil)
		if err != nil {
			return
		}
	}
}

// A request that is repeated after a crash finds its volume, and one for another image does not get it.
func TestARepeatedRequestAfterACrash(t *testing.T) {
	d := cloning(t, harness.Config{})
	first, disk := addImage(t, d, 1)
	second, _ := addImage(t, d, 2)
	d.Create(t, harness.Volume{Image: first, Name: "v"})
	d.Kill()
	d.Start(t)
	got := d.Create(t, harness.Volume{Image: first, Name: "v"})
	if got.Outcome != plugin.Hit || got.Reason != plugin.ReasonRepeated {
		t.Errorf("the same request: got %s, %s; want hit, already_made", got.Outcome, got.Reason)
	}
	exit, _, failed := d.TryCreate(t, harness.Volume{Image: second, Name: "v"})
	if exit == 0 || failed.Code != "volume_conflict" {
		t.Errorf("another image by the same name: got exit %d, code %q; want a conflict", exit, failed.Code)
	}
	harness.SameContent(t, got.Path, disk, imageSize)
}
