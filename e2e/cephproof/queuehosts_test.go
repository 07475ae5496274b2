//go:build ceph

package cephproof

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

const (
	// queuedImages is the variable of the environment that says how many images three hosts have to fill; a machine with
	// time has 1000.
	queuedImages = "CLONECACHE_QUEUED_IMAGES"
	usualQueue   = "100"
	// fillsAtOnce is fill_limit's default, of each daemon.
	fillsAtOnce = 4
)

// Hundreds of images are queued on three hosts, one of which is killed in the middle and never comes back: the others
// fetch what is left. Each image is fetched once, but for those that the dead one had in hand, none is lost, and those of greater
// priority went first.
func TestTheQueueOfThreeHostsOutlivesOneForGood(t *testing.T) {
	t.Parallel()
	many, err := strconv.Atoi(cmp.Or(os.Getenv(queuedImages), usualQueue))
	if err != nil || many < 50 || many%10 != 0 {
		t.Fatalf("%s: want a number from 50 on that ten divides", queuedImages)
	}
	h := newThreeHosts(t)
	refs := h.tinyImages(t, many)
	batch := many / 10
	for i := range 10 {
		asked := api.PrefetchRequest{Images: refs[i*batch : (i+1)*batch], Priority: (i * 7) % 10}
		if views, err := h.hosts[i%len(h.hosts)].Client(t).Prefetch(t.Context(), asked); err != nil || len(views) != batch {
			t.Fatalf("queue: %d rows, %v", len(views), err)
		}
	}
	began := time.Now()
	waiting := make(map[string]bool)
	for _, v := range h.queue(t, 1) {
		waiting[v.ID] = v.State == "waiting"
	}
	h.untilQueueDone(t, many*3/10)
	h.hosts[0].Kill()
	killed := time.Now()
	rows := h.untilQueueDone(t, many)
	t.Logf("%d images: killed after %.1f s, all there %.1f s later", many, killed.Sub(began).Seconds(), time.Since(killed).Seconds())
	h.fetchedOnce(t, rows)
	for _, d := range h.hosts[1:] {
		h.allCached(t, d, many)
		h.settled(t, d)
	}
	inTurn(t, slices.DeleteFunc(rows, func(v plugin.QueuedView) bool { return !waiting[v.ID] || v.Attempts > 1 }), 2*fillsAtOnce*len(h.hosts))
}

// tinyImages puts so many images to the source, each with bytes of its own.
func (h *threeHosts) tinyImages(t *testing.T, many int) []string {
	t.Helper()
	refs := make([]string, many)
	content := make([]byte, 4<<10)
	for i := range refs {
		name := fmt.Sprintf("tiny-%04d.raw", i)
		binary.LittleEndian.PutUint64(content[2048:], uint64(i+1))
		if err := os.WriteFile(filepath.Join(h.web.Dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
		refs[i] = "web:" + name
	}
	return refs
}

func (h *threeHosts) queue(t *testing.T, host int) []plugin.QueuedView {
	t.Helper()
	rows, err := h.hosts[host].Client(t).Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// untilQueueDone waits until so many images in the queue are done, as the second host sees it. It gives up where ten more
// take longer than a dead host is waited for.
func (h *threeHosts) untilQueueDone(t *testing.T, many int) []plugin.QueuedView {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond) // a look reads the whole queue
	defer tick.Stop()
	var rows []plugin.QueuedView
	for done := 0; done < many; {
		next := min(done+10, many)
		harness.UntilWithin(t, outlasts, fmt.Sprintf("%d images are cached", next), func() bool {
			rows, done = h.queue(t, 1), 0
			for _, v := range rows {
				if v.State == "done" {
					done++
				}
			}
			if done < next {
				<-tick.C
			}
			return done >= next
		})
	}
	return rows
}

// fetchedOnce wants each image to have been read once, and those that the dead host had in hand twice at most.
func (h *threeHosts) fetchedOnce(t *testing.T, rows []plugin.QueuedView) {
	t.Helper()
	attempts, twice := 0, 0
	for _, v := range rows {
		attempts += v.Attempts
		if v.State != "done" || v.Attempts > 2 || v.LastError != "" {
			t.Errorf("%s: %+v", v.ImageID, v)
		}
		switch begun := h.web.Begun(v.ImageID[len("web:"):]); {
		case begun == 2 && v.Attempts == 2:
			twice++
		case begun != 1:
			t.Errorf("%s was fetched %d times in %d attempts", v.ImageID, begun, v.Attempts)
		}
	}
	t.Logf("%d attempts at %d images, %d were fetched twice", attempts, len(rows), twice)
	if attempts > len(rows)+fillsAtOnce || twice > fillsAtOnce {
		t.Errorf("%d attempts at %d images, and %d fetched twice, want one more for each of %d at most that the dead host had in hand", attempts, len(rows), twice, fillsAtOnce)
	}
}

// allCached wants a host to know of so many images, all of them ready.
func (h *threeHosts) allCached(t *testing.T, d *harness.Daemon, many int) {
	t.Helper()
	ready := make(map[string]bool)
	for _, e := range d.Entries(t) {
		if e.State == "ready" {
			ready[e.ImageIDs[0]] = true
		}
	}
	if len(ready) != many {
		t.Errorf("%d images are cached, want %d", len(ready), many)
	}
}

// inTurn checks that of rows which all waited at one time, none ended before more than slack of greater priority.
func inTurn(t *testing.T, rows []plugin.QueuedView, slack int) {
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
