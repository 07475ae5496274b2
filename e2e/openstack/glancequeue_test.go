//go:build openstack

package openstack

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// A daemon that is killed while what clients have queued is fetched goes on with that once it is there again: each image is read once, but
// those that were being read, and whoever lists the cache meanwhile sees each image as cached or as queued.
func TestKilledWithAFullQueue(t *testing.T) {
	const many, atOnce, size = 4, 1, 4 * mib
	url := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
	tables := strings.Replace(frontTables(t, url), "kind = \"glance\"\n", fmt.Sprintf("kind = \"glance\"\nmax_fills = %d\n", atOnce), 1)
	w := worldOf(t, strings.Replace(tables, "max_fills", "max_bandwidth = \"64KiB\"\nmax_fills", 1)) // no image is read before the kill
	w.daemon.Start(t)
	defer w.end(t)
	f := front{url: url}
	log := lab.logged(t, "glance")
	images := make([]string, many)
	for i := range images {
		images[i] = w.admin.upload(t, newDisk(t, uint64(70+i), size, size).path, "raw", object{"visibility": "public"}) // the account sees it, so that it is queued
	}
	w.images = images
	for _, id := range images {
		w.admin.must(t, call{"PUT", url + "/v2/cache/" + id, nil}, nil)
	}
	within(t, "one is being fetched", func() bool {
		rows, err := w.daemon.Client(t).Queue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(rows, func(q plugin.QueuedView) bool { return q.State == "running" })
	})
	if s := f.state(t, w.admin.token); len(s.Cached) != 0 || len(s.Queued) != many {
		t.Errorf("before the kill: %+v, want all %d queued", s, many)
	}
	w.daemon.Kill()
	w.daemon.Config.Tables = tables
	w.daemon.Reconfigure(t)
	w.daemon.Start(t)
	within(t, "all are cached", func() bool {
		s := f.state(t, w.admin.token)
		for _, id := range images {
			if !s.has(id) && !slices.Contains(s.Queued, id) {
				t.Errorf("%s is neither cached nor queued: %+v", id, s)
			}
		}
		return len(s.Cached) == many && len(s.Queued) == 0
	})
	again := 0
	for _, id := range images {
		var n int
		within(t, "Glance's log tells of a download", func() bool { n = wholeDownloads(log(), id); return n > 0 })
		if n > 1 {
			again += n - 1
		}
		if status, _ := w.demo.download(t, url, id); status != 200 {
			t.Errorf("download of %s: %d", id, status)
		}
		if after := wholeDownloads(log(), id); n < 1 || n > 2 || after != n {
			t.Errorf("%s was read %d times by the queue and %d times after it, want once, or twice where the kill broke it off", id, n, after-n)
		}
	}
	if again > atOnce {
		t.Errorf("%d images were read twice, want %d at most", again, atOnce)
	}
}
