package plugin_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// wantMiss wants a request to have filled, for that cause.
func wantMiss(t *testing.T, what string, got plugin.Answer, want plugin.MissCause) {
	t.Helper()
	if got.Outcome != plugin.Filled || got.Reason != plugin.ReasonMiss || got.MissCause != want || got.Detail == "" {
		t.Errorf("%s: got %+v, want cause %s", what, got, want)
	}
}

// An image that is updated at its source leaves its earlier entry behind: it is marked, and goes before one that
// was not used for longer.
func TestWhatIsSupersededGoesFirst(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 3})
	r.image(t, "other.raw", mib)
	other := r.create(t, "library:other.raw", "v1", 0)
	wantMiss(t, "at first", other, plugin.MissNeverCached)
	r.image(t, "a.raw", mib)
	first := r.create(t, "library:a.raw", "v2", 0)
	r.image(t, "a.raw", mib)
	second := r.create(t, "library:a.raw", "v3", 0)
	wantMiss(t, "after an update", second, plugin.MissChanged)

	entry := func(id string) plugin.EntryView {
		t.Helper()
		e, err := r.Entry(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := entry(first.EntryID); e.SupersededBy != second.EntryID || e.SupersededAt == nil || e.Generation != 1 {
		t.Errorf("the earlier one: got %+v", e)
	}
	if e := entry(second.EntryID); e.SupersededBy != "" || e.SupersededAt != nil || e.Generation != 2 {
		t.Errorf("the later one: got %+v", e)
	}

	r.image(t, "b.raw", mib)
	wantMiss(t, "another image", r.create(t, "library:b.raw", "v4", 0), plugin.MissNeverCached)
	entry(other.EntryID)
	if _, err := r.Entry(t.Context(), first.EntryID); err == nil {
		t.Error("the superseded entry is still there")
	}
	r.image(t, "c.raw", mib)
	r.create(t, "library:c.raw", "v5", 0)
	wantMiss(t, "after its eviction", r.create(t, "library:other.raw", "v6", 0), plugin.MissEvicted)
}

// An image that is gone from its source leaves its entry behind too, which is deleted by a word.
func TestWhatIsGoneFromItsSourceIsSuperseded(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	r.image(t, "a.raw", mib)
	r.image(t, "b.raw", mib)
	a, b := r.create(t, "library:a.raw", "v1", 0), r.create(t, "library:b.raw", "v2", 0)
	if err := os.Remove(filepath.Join(r.dir, "images/a.raw")); err != nil {
		t.Fatal(err)
	}
	_, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:a.raw", Volume: "v3"})
	if !errors.Is(err, imagesource.ErrNotFound) {
		t.Fatalf("got %v, want %v", err, imagesource.ErrNotFound)
	}
	if e, err := r.Entry(t.Context(), a.EntryID); err != nil || e.SupersededAt == nil || e.SupersededBy != "" {
		t.Errorf("got %+v, %v", e, err)
	}
	removed, err := r.DeleteSupersededEntries(t.Context(), "", false)
	if err != nil || len(removed.Removed) != 1 || removed.Removed[0].ID != a.EntryID {
		t.Errorf("got %+v, %v, want that entry", removed, err)
	}
	if _, err := r.Entry(t.Context(), b.EntryID); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

// A fill that finds its content cached already says so, and not that it made an image-volume.
func TestAFillOfKnownContentSaysSo(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	r.image(t, "a.raw", mib)
	r.create(t, "library:a.raw", "v1", 0)
	content, err := os.ReadFile(filepath.Join(r.dir, "images/a.raw"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "images/same.raw"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	wantMiss(t, "equal content", r.create(t, "library:same.raw", "v2", 0), plugin.MissSameContent)
	events, err := r.Events(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventFilled, plugin.EventMiss}})
	if err != nil || len(events) != 4 || events[2].Detail == events[0].Detail || events[3].Detail == "" {
		t.Errorf("events: got %+v, %v", events, err)
	}
}
