package plugin_test

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

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// happened lists kind, reason and volume of each event.
func (r *rig) happened(t *testing.T, f plugin.EventFilter) []string {
	t.Helper()
	events, err := r.Events(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return inShort(events)
}

func inShort(events []plugin.Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, strings.TrimSpace(strings.Join([]string{string(e.Kind), string(e.Reason), string(e.Volume)}, " ")))
	}
	return all
}

func wantEvents(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestEventsTellWhatHappenedInOrder(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 1})
	r.image(t, "a.raw", mib)
	r.image(t, "b.raw", mib)
	r.create(t, "library:a.raw", "v1", 0)
	hit := r.create(t, "library:a.raw", "v2", 0)
	if _, err := r.SetPinned(t.Context(), hit.EntryID, true); err != nil {
		t.Fatal(err)
	}
	r.create(t, "library:b.raw", "v3", 0)
	if _, err := r.SetPinned(t.Context(), hit.EntryID, false); err != nil {
		t.Fatal(err)
	}
	made := r.create(t, "library:b.raw", "v4", 0)
	if _, err := r.DeleteEntry(t.Context(), made.EntryID, false); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, "events", r.happened(t, plugin.EventFilter{}),
		"started", "filled", "miss miss v1", "hit ready v2", "pinned", "fill_failed no_room", "filled", "copied no_room v3", "unpinned",
		"evicted count", "filled", "miss miss v4", "deleted admin")

	events, err := r.Events(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventMiss, plugin.EventFilled, plugin.EventEvicted}})
	if err != nil || len(events) != 6 {
		t.Fatalf("of three kinds: got %+v, %v", events, err)
	}
	filled, miss, evicted := events[0], events[1], events[3]
	if filled.ImageID != "library:a.raw" || filled.EntryID == "" || filled.Bytes < mib/2 || filled.TookMS <= 0 || filled.Backend != "local" || filled.At.IsZero() {
		t.Errorf("filled: got %+v", filled)
	}
	if miss.Outcome != plugin.Filled || miss.Bytes != mib || miss.EntryID != filled.EntryID || miss.TookMS < filled.TookMS {
		t.Errorf("miss: got %+v", miss)
	}
	if evicted.EntryID != filled.EntryID || evicted.Bytes != filled.Bytes || !strings.Contains(evicted.Detail, "cc-"+evicted.EntryID) ||
		!strings.Contains(evicted.Detail, "to make room for library:b.raw") {
		t.Errorf("evicted: got %+v", evicted)
	}
	if err := r.DeleteVolume(t.Context(), "local", "v4"); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteVolume(t.Context(), "local", "v4"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("deleted twice: got %v, want %v", err, backends.ErrNotExist)
	}
	wantEvents(t, "of the file cache", r.happened(t, plugin.EventFilter{Backend: "files"}), "filled")
	wantEvents(t, "later ones", r.happened(t, plugin.EventFilter{After: events[4].ID}), "miss miss v4", "deleted admin", "volume_deleted  v4")
}

// What an earlier process had noted is there, once, and what it stopped for too.
func TestEventsOutliveTheirProcess(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 1})
	r.image(t, "a.raw", mib)
	r.create(t, "library:a.raw", "v1", 0)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, iv := range imageVolumes(t, r) {
		if err := os.RemoveAll(iv); err != nil {
			t.Fatal(err)
		}
	}
	r.open(t)
	wantEvents(t, "after a restart", r.happened(t, plugin.EventFilter{}),
		"started", "filled", "miss miss v1", "stopped", "started", "vanished gone")
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.config.EventsMax = -1
	r.open(t)
	r.create(t, "library:a.raw", "v2", 0)
	wantEvents(t, "where none are kept", r.happened(t, plugin.EventFilter{}))
}

// imageVolumes are the paths of what the backend "local" caches.
func imageVolumes(t *testing.T, r *rig) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(r.dir, "volumes/.clonecache/image-volumes/*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("image-volumes: got %q, %v", found, err)
	}
	return found
}

// follower gathers what one follower is told.
type follower struct {
	mu   sync.Mutex
	told []plugin.Event
	err  error
	done chan struct{}
}

func (r *rig) follow(ctx context.Context, filter plugin.EventFilter) *follower {
	f := &follower{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.err = r.FollowEvents(ctx, filter, func(e plugin.Event) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.told = append(f.told, e)
			return nil
		})
	}()
	return f
}

func (f *follower) events() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return inShort(f.told)
}

func TestFollowersAreToldOfEachEventOnce(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 1})
	r.image(t, "a.raw", mib)
	r.create(t, "library:a.raw", "v0", 0)
	ctx, cancel := context.WithCancel(t.Context())
	everything, hits, leaver := r.follow(t.Context(), plugin.EventFilter{}), r.follow(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventHit}}), r.follow(ctx, plugin.EventFilter{})
	const requests = 20
	var all sync.WaitGroup
	for n := range requests {
		all.Go(func() {
			if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:a.raw", Volume: backends.VolumeName(fmt.Sprint("v", n+1))}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	waitFor(t, func() bool { return len(hits.events()) == requests && len(leaver.events()) == requests+3 })
	cancel()
	if <-leaver.done; !errors.Is(leaver.err, context.Canceled) {
		t.Errorf("one that left: got %v, want %v", leaver.err, context.Canceled)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*follower{everything, hits} {
		if <-f.done; !errors.Is(f.err, plugin.ErrStopping) {
			t.Errorf("at the end: got %v, want %v", f.err, plugin.ErrStopping)
		}
	}
	told := everything.events()
	if len(told) != requests+4 || told[len(told)-1] != "stopped" {
		t.Errorf("all: got %d events, %q; want %d and stopped at the end", len(told), told, requests+4)
	}
	slices.Sort(told)
	if len(slices.Compact(told)) != requests+4 {
		t.Errorf("told twice: %q", told)
	}
	if err := r.FollowEvents(t.Context(), plugin.EventFilter{}, nil); !errors.Is(err, plugin.ErrStopping) {
		t.Errorf("after the end: got %v, want %v", err, plugin.ErrStopping)
	}
}

// A backend that does not answer is told of once, and so is that it answers again.
func TestABackendThatDoesNotAnswerHasAnEvent(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	backend := backendtest.NewMemory(backendtest.MemoryConfig{})
	faulty := backendtest.NewFaulty(backend)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(faulty))
	source.put("disk", "1", random(mib))
	r.create(t, "gated:disk", "v0", 0)
	for n := range 2 {
		faulty.FailBefore(backendtest.MethodClone, n+2, backends.ErrUnavailable)
		r.create(t, "gated:disk", fmt.Sprint("copied", n), 0)
	}
	r.create(t, "gated:disk", "v1", 0)
	r.create(t, "gated:disk", "v2", 0)
	wantEvents(t, "events", r.happened(t, plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventUnreachable, plugin.EventBack}}), "unreachable", "back")
}

// A fill that comes to nothing has an event with the word that its requester is told, and the text.
func TestAFailedFillHasAnEvent(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{})
	if err := os.WriteFile(filepath.Join(r.dir, "images", "bad.qcow2"), []byte("no qcow2"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:bad.qcow2", Volume: "v"}); err == nil {
		t.Fatal("it was taken")
	}
	events, err := r.Events(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventFillFailed}})
	if err != nil || len(events) != 1 || events[0].Reason != "image_refused" || events[0].Detail == "" || events[0].ImageID != "library:bad.qcow2" {
		t.Errorf("got %+v, %v; want one, image_refused", events, err)
	}
}
