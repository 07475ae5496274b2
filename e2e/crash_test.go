package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/failpoint"
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

// unreached are the steps that no request on files takes, each with the reason.
var unreached = map[failpoint.Step]map[string]string{
	failpoint.Detach:  {"xfs": "reflinks depend on nothing", "ext4": "copies depend on nothing"},
	failpoint.Copy:    {"xfs": "volumes are cloned"},
	failpoint.Clone:   {"ext4": "volumes are copied"},
	failpoint.Claim:   {"ext4": "the file cache is not charged"},
	failpoint.Settle:  {"ext4": "the file cache is not charged"},
	failpoint.Release: {"ext4": "the file cache is not charged"},
}

// The crash matrix: the daemon kills itself after each step of a request that evicts, fills and clones
// (or copies), and of what follows. After the restart and the repeated request everything is as in a
// run that was not killed.
func TestKilledAfterEachStep(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			mount := filesystem(t, kind)
			want := undisturbed(t, mount)
			for _, step := range failpoint.All() {
				if unreached[step][kind] != "" {
					continue
				}
				t.Run(string(step), func(t *testing.T) { killAfter(t, mount, step, want) })
			}
		})
	}
}

// crashed is one daemon of the matrix: image 1 is cached, the cache is full with it, and image 2 is the
// one that is asked for.
type crashed struct {
	*harness.Daemon
	first, second string // references
	disks         [3]string
}

func prepare(t *testing.T, mount, name string, killAfter failpoint.Step) *crashed {
	t.Helper()
	c := &crashed{Daemon: harness.New(t, harness.Config{
		Volumes: filepath.Join(mount, name, "volumes"), Cache: filepath.Join(mount, name, "cache"),
		MaxCount: 1, CacheMaxCount: 1,
	})}
	c.first, c.disks[1] = addImage(t, c.Daemon, 1)
	c.second, c.disks[2] = addImage(t, c.Daemon, 2)
	if killAfter == failpoint.Migrate {
		return c // the very first start is what is killed
	}
	c.Start(t)
	c.Create(t, harness.Volume{Image: c.first, Name: "before"})
	c.Stop(t)
	return c
}

// outcome is what lies on disk in the end, names apart.
type outcome struct {
	files int
	bytes int64
}

func (c *crashed) outcome(t *testing.T) outcome {
	t.Helper()
	var o outcome
	for _, dir := range []string{c.Config.Volumes, c.Config.Cache} {
		for _, f := range harness.Files(t, dir) {
			o.files++
			o.bytes += f.Bytes
		}
	}
	return o
}

// finish asks for both volumes, as a caller who repeats what was not answered, and checks all.
func (c *crashed) finish(t *testing.T) outcome {
	t.Helper()
	before := c.Create(t, harness.Volume{Image: c.first, Name: "before"})
	v := c.Create(t, harness.Volume{Image: c.second, Name: "v", Size: 2 * imageSize})
	harness.SameContent(t, before.Path, c.disks[1], imageSize)
	harness.SameContent(t, v.Path, c.disks[2], 2*imageSize)
	if got := len(c.Volumes(t)); got != 2 {
		t.Errorf("volumes: got %d, want 2", got)
	}
	if got := cached(t, c.Daemon); len(got) != 1 || got[0] != 2 {
		t.Errorf("cached images: got %v, want [2]", got)
	}
	if r := c.CLI(t, "clean"); r.Exit != 0 {
		t.Errorf("clean: exit %d\n%s", r.Exit, r.Stderr)
	}
	c.Consistent(t)
	return c.outcome(t)
}

func undisturbed(t *testing.T, mount string) outcome {
	t.Helper()
	c := prepare(t, mount, "undisturbed", "")
	c.Start(t)
	return c.finish(t)
}

func killAfter(t *testing.T, mount string, step failpoint.Step, want outcome) {
	c := prepare(t, mount, string(step), step)
	c.KillAfter = string(step)
	if err := c.TryStart(t); err == nil {
		c.TryCreate(t, harness.Volume{Image: c.second, Name: "v", Size: 2 * imageSize})
		c.CLI(t, "clean")
		select {
		case <-c.Ended():
		case <-time.After(10 * time.Second):
			t.Fatalf("no request reached the step %q", step)
		}
	}
	if got := c.ExitCode(); got != -1 {
		t.Fatalf("the daemon's exit code: got %d, want a kill", got)
	}

	c.KillAfter = ""
	c.Start(t)
	for _, v := range c.Volumes(t) { // each is whole, before anything is repeated
		switch v.Volume {
		case "before":
			harness.SameContent(t, v.Path, c.disks[1], imageSize)
		case "v":
			harness.SameContent(t, v.Path, c.disks[2], 2*imageSize)
		default:
			t.Errorf("a volume that nobody asked for: %s", v.Volume)
		}
	}
	c.Consistent(t)
	if got := c.finish(t); got != want {
		t.Errorf("on disk: got %+v, want %+v as without the kill", got, want)
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
