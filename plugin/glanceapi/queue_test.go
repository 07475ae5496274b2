package glanceapi_test

import (
	"context"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// bytesOnly keeps images' bytes, one at a time, and has none cached for volumes.
func bytesOnly(api *glanceapi.Config, cache *plugin.Config) {
	api.FileCache, api.Backends = "files", []backends.Name{"files"}
	cache.FillLimit = 1
}

// restart ends the cache without waiting for what is being fetched, and opens it anew.
func (f *front) restart(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, f.cache.Close(ctx))
	f.cache = nil
	f.reopen(t)
}

// What was queued by either path is there after a restart, is shown, can be taken out, and is fetched.
func TestTheQueueOutlivesARestart(t *testing.T) {
	f := newFront(t, bytesOnly)
	gate := make(chan struct{})
	f.glance.set(func() { f.glance.gates[plainImage] = gate })
	for _, path := range []string{"/v2/cache/" + plainImage, "/v2/queued_images/" + otherImage, "/v2/cache/" + privateImage} {
		if answer, body := f.send(t, "admin", "PUT", path); answer.StatusCode/100 != 2 {
			t.Fatalf("PUT %s: %d %s", path, answer.StatusCode, body)
		}
	}
	shows := func(when string, want ...string) {
		t.Helper()
		slices.Sort(want)
		_, queued, raw := f.listed(t)
		if slices.Sort(queued); !slices.Equal(queued, want) {
			t.Errorf("%s: %s, want %v queued", when, raw, want)
		}
	}
	until(t, "the first is fetched", func() bool { return f.glance.downloads() == 1 })
	shows("before the restart", plainImage, otherImage, privateImage)
	f.restart(t)
	shows("after the restart", plainImage, otherImage, privateImage)
	if answer, body := f.send(t, "admin", "DELETE", "/v2/cache/"+privateImage); answer.StatusCode != 204 {
		t.Errorf("delete: %d %s", answer.StatusCode, body)
	}
	shows("after one was taken out", plainImage, otherImage)
	f.restart(t)
	shows("after another restart", plainImage, otherImage)
	close(gate)
	until(t, "both images are cached", func() bool { cached, queued, _ := f.listed(t); return len(cached) == 2 && len(queued) == 0 })
	if answer, body := f.send(t, "demo", "GET", "/v2/images/"+plainImage+"/file"); answer.StatusCode != 200 || body != string(f.glance.images[plainImage].data) {
		t.Errorf("download: %d, %d bytes", answer.StatusCode, len(body))
	}
	before := f.glance.downloads() // of what was broken off, too
	if answer, _ := f.send(t, "admin", "PUT", "/v2/cache/"+plainImage); answer.StatusCode != 202 {
		t.Errorf("queue what is cached: %d", answer.StatusCode)
	}
	if shows("what is cached is not queued"); f.glance.downloads() != before {
		t.Errorf("%d downloads more of what is cached", f.glance.downloads()-before)
	}
}

// The one that is being fetched is taken out, too, and the next one gets its place.
func TestWhatIsBeingFetchedIsTakenOut(t *testing.T) {
	f := newFront(t, bytesOnly)
	gate := make(chan struct{})
	defer close(gate)
	f.glance.set(func() { f.glance.gates[plainImage] = gate })
	f.send(t, "admin", "PUT", "/v2/cache/"+plainImage)
	f.send(t, "admin", "PUT", "/v2/cache/"+otherImage)
	until(t, "it is fetched", func() bool { return f.glance.downloads() == 1 })
	if answer, body := f.send(t, "admin", "DELETE", "/v2/queued_images/"+plainImage); answer.StatusCode != 200 {
		t.Fatalf("delete: %d %s", answer.StatusCode, body)
	}
	until(t, "the other one is cached", func() bool {
		cached, queued, _ := f.listed(t)
		return slices.Equal(cached, []string{otherImage}) && len(queued) == 0
	})
}

// What the cache's own account may not see is fetched by the caller's right, at once, and is in no queue.
func TestWhatOnlyTheCallerSeesIsFetchedByTheirRight(t *testing.T) {
	f := newFront(t, bytesOnly)
	f.glance.account = "other"
	if answer, body := f.send(t, "admin", "PUT", "/v2/cache/"+privateImage); answer.StatusCode != 202 {
		t.Fatalf("PUT: %d %s", answer.StatusCode, body)
	}
	rows, err := f.cache.Queue().Queued(t.Context())
	if must(t, err); len(rows) != 0 {
		t.Errorf("queued: %+v", rows)
	}
	until(t, "it is cached", func() bool { cached, _, _ := f.listed(t); return slices.Equal(cached, []string{privateImage}) })
}

// The older path looks for no image: what is none fails in the queue, with its reason.
func TestWhatIsNoImageFailsInTheQueue(t *testing.T) {
	f := newFront(t, bytesOnly)
	if answer, body := f.send(t, "admin", "PUT", "/v2/queued_images/"+absentImage); answer.StatusCode != 200 || body != "null" {
		t.Fatalf("PUT: %d %s", answer.StatusCode, body)
	}
	until(t, "it has failed", func() bool {
		rows, err := f.cache.Queue().Queued(t.Context())
		must(t, err)
		return len(rows) == 1 && rows[0].State == "failed" && rows[0].LastError != ""
	})
}

// Nor does it ask whether an image is active: one that is not waits until it is. What would be taken for another row is refused.
func TestTheOlderPathQueuesWhatIsNotActiveYet(t *testing.T) {
	f := newFront(t, bytesOnly)
	if answer, body := f.send(t, "admin", "PUT", "/v2/queued_images/"+queuedImage); answer.StatusCode != 200 || body != "null" {
		t.Fatalf("PUT: %d %s", answer.StatusCode, body)
	}
	if answer, _ := f.send(t, "admin", "PUT", "/v2/queued_images/"+plainImage+"%0Asource"); answer.StatusCode != 409 {
		t.Errorf("a name with a form in it: %d, want 409", answer.StatusCode)
	}
	until(t, "it was tried", func() bool {
		rows, err := f.cache.Queue().Queued(t.Context())
		must(t, err)
		return len(rows) == 1 && rows[0].State == "waiting" && rows[0].Attempts == 1 && rows[0].ImageID == "glance:"+queuedImage && rows[0].Form == backends.Source
	})
}
