package e2e

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// queuedImages is the variable of the environment that says how many images are queued; a machine with time has 1000.
const queuedImages = "CLONECACHE_QUEUED_IMAGES"

// howMany are queued, a multiple of ten. The race detector, under which the catalog is many times slower, affords few.
func howMany(t *testing.T) int {
	t.Helper()
	usual := "200"
	if harness.Race() {
		usual = "60"
	}
	many, err := strconv.Atoi(cmp.Or(os.Getenv(queuedImages), usual))
	if err != nil || many < 50 || many%10 != 0 {
		t.Fatalf("%s: want a number from 50 on that ten divides", queuedImages)
	}
	return many
}

// Hundreds of images are queued, the daemon is killed in the middle: each is cached once, none is lost, and those of
// greater priority went first.
func TestHundredsOfQueuedImagesOutliveAKill(t *testing.T) {
	const atOnce = 4 // fill_limit's default
	many := howMany(t)
	batch := many / 10
	d := cloning(t, harness.Config{})
	refs := smallImages(t, d, many)
	c := d.Client(t)
	for i := range 10 {
		asked := api.PrefetchRequest{Images: refs[i*batch : (i+1)*batch], Priority: (i * 7) % 10}
		if views, err := c.Prefetch(t.Context(), asked); err != nil || len(views) != batch {
			t.Fatalf("queue: %d rows, %v", len(views), err)
		}
	}
	waiting := stillWaiting(t, c)
	untilDone(t, c, many*3/10, 50*time.Millisecond)
	d.Kill()
	d.Start(t)
	rows := untilDone(t, d.Client(t), many, time.Second)
	attempts := 0
	for _, v := range rows {
		attempts += v.Attempts
		if v.State != "done" || v.Attempts > 2 || v.LastError != "" {
			t.Errorf("%s: %+v", v.ImageID, v)
		}
	}
	if attempts > many+atOnce {
		t.Errorf("%d attempts at %d images, want one more for each of %d at most that the kill broke off", attempts, many, atOnce)
	}
	images := make(map[string]bool)
	for _, e := range d.Entries(t) {
		images[e.ImageIDs[0]] = e.State == "ready"
	}
	if len(images) != many {
		t.Errorf("%d images are cached, want %d", len(images), many)
	}
	inOrder(t, slices.DeleteFunc(rows, func(v plugin.QueuedView) bool { return !waiting[v.ID] || v.Attempts > 1 }), 2*atOnce)
	d.Consistent(t)
}

// smallImages puts so many images into the library, each with bytes of its own.
func smallImages(t *testing.T, d *harness.Daemon, many int) []string {
	t.Helper()
	refs := make([]string, many)
	content := make([]byte, 4<<10)
	for i := range refs {
		name := fmt.Sprintf("small-%04d.raw", i)
		binary.LittleEndian.PutUint64(content[2048:], uint64(i+1))
		if err := os.WriteFile(filepath.Join(d.Config.Images, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
		refs[i] = "library:" + name
	}
	return refs
}

// stillWaiting are the rows that nobody has begun yet, by their IDs.
func stillWaiting(t *testing.T, c *api.Client) map[string]bool {
	t.Helper()
	rows, err := c.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(map[string]bool)
	for _, v := range rows {
		waiting[v.ID] = v.State == "waiting"
	}
	return waiting
}

// untilDone waits until so many images in the queue are done, looks every so often, and returns the queue. It gives up
// where ten more take as long as nothing takes that goes on at all.
func untilDone(t *testing.T, c *api.Client, many int, every time.Duration) []plugin.QueuedView {
	t.Helper()
	tick := time.NewTicker(every) // a look reads the whole queue
	defer tick.Stop()
	var rows []plugin.QueuedView
	for done := 0; done < many; {
		next := min(done+10, many)
		harness.Until(t, fmt.Sprintf("%d images are cached", next), func() bool {
			var err error
			if rows, err = c.Queue(t.Context()); err != nil {
				t.Fatal(err)
			}
			done = len(slices.DeleteFunc(slices.Clone(rows), func(v plugin.QueuedView) bool { return v.State != "done" }))
			if done < next {
				<-tick.C
			}
			return done >= next
		})
	}
	return rows
}

// inOrder checks that of rows which all waited at one time, none ended before more than slack of greater priority.
func inOrder(t *testing.T, rows []plugin.QueuedView, slack int) {
	t.Helper()
	slices.SortFunc(rows, func(a, b plugin.QueuedView) int { return a.EndedAt.Compare(*b.EndedAt) })
	for i, v := range rows {
		greater := 0
		for _, later := range rows[i+1:] {
			if later.Priority > v.Priority {
				greater++
			}
		}
		if greater > slack {
			t.Errorf("%s, of priority %d, ended before %d of greater priority", v.ImageID, v.Priority, greater)
			return
		}
	}
}
