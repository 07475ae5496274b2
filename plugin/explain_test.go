package plugin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// A volume's story names its request, why its image was not cached, for what that had gone, its fill, and what became of
// its entry.
func TestAVolumesStory(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 1})
	r.image(t, "a.raw", mib)
	r.image(t, "b.raw", mib)
	r.create(t, "library:a.raw", "v1", 0)
	r.create(t, "library:b.raw", "v2", 0) // a goes for it
	third := r.create(t, "library:a.raw", "v3", 0)
	r.create(t, "library:a.raw", "v4", 0)
	r.create(t, "library:b.raw", "v5", 0) // and again
	story, err := r.Controls().ExplainVolume(t.Context(), "local", "v3")
	if err != nil {
		t.Fatal(err)
	}
	if !story.Exists || story.ImageID != "library:a.raw" || story.EntryID != third.EntryID || story.Entry != nil {
		t.Errorf("got %+v", story)
	}
	if len(story.Requests) != 1 || story.Requests[0].Outcome != plugin.Filled || story.Requests[0].TookMS == 0 || !strings.Contains(story.Requests[0].Detail, "evicted (count)") {
		t.Errorf("requests: got %+v", story.Requests)
	}
	if n := len(story.Before); n != 2 || story.Before[1].Kind != plugin.EventEvicted || !strings.Contains(story.Before[1].Detail, "library:b.raw") {
		t.Errorf("before: got %+v, want the eviction for b", story.Before)
	}
	if len(story.Fills) != 1 || story.Fills[0].Kind != plugin.EventFilled {
		t.Errorf("fills: got %+v", story.Fills)
	}
	if len(story.After) != 1 || story.After[0].Kind != plugin.EventEvicted {
		t.Errorf("after: got %+v", story.After)
	}
	hit, err := r.Controls().ExplainVolume(t.Context(), "", "v4")
	if err != nil || len(hit.Requests) != 1 || hit.Requests[0].Outcome != plugin.Hit || len(hit.Before) != 0 {
		t.Errorf("a hit: got %+v, %v", hit, err)
	}
	events, err := r.Controls().EntryEvents(t.Context(), third.EntryID)
	if err != nil || len(events) != 3 {
		t.Errorf("events of the entry: got %+v, %v, want its fill, its miss and its eviction", events, err)
	}

	if err := r.DeleteVolume(t.Context(), "local", "v3"); err != nil {
		t.Fatal(err)
	}
	gone, err := r.Controls().ExplainVolume(t.Context(), "local", "v3")
	if err != nil || gone.Exists || gone.ImageID != "library:a.raw" || gone.EntryID != third.EntryID || len(gone.After) != 2 {
		t.Errorf("of one that is gone: got %+v, %v", gone, err)
	}
	if err := r.Controls().DisableBackend(t.Context(), "local"); err != nil {
		t.Fatal(err)
	}
	r.create(t, "library:a.raw", "never", 0)
	never, err := r.Controls().ExplainVolume(t.Context(), "local", "never")
	if err != nil || never.Exists || len(never.Requests) != 1 || never.Requests[0].Reason != plugin.ReasonDisabled {
		t.Errorf("of one that was bypassed: got %+v, %v", never, err)
	}
	if _, err := r.Controls().ExplainVolume(t.Context(), "local", "nobody"); !errors.Is(err, plugin.ErrNoStory) || !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("of none: got %v, want %v", err, plugin.ErrNoStory)
	} else if said := api.Explain(err); said.Code != "volume_not_found" || !strings.Contains(said.Message, "nobody on local") || !strings.Contains(said.Message, "interrupted") {
		t.Errorf("of none people are told %+v, want what a killed request leaves", said)
	}
	if _, err := r.Controls().ExplainVolume(t.Context(), "local", ""); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("without a name: got %v, want %v", err, plugin.ErrBadRequest)
	}
	if _, err := r.Controls().ExplainVolume(t.Context(), "absent", "v3"); !errors.Is(err, plugin.ErrUnknownBackend) {
		t.Errorf("of an unknown backend: got %v", err)
	}
}

// The fill of a volume's entry is told however many requests were served from the entry since, and what became of both comes in
// its order.
func TestAStoryOfMuchUse(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	r.image(t, "a.raw", mib)
	first := r.create(t, "library:a.raw", "v1", 0)
	for i := range 60 {
		r.create(t, "library:a.raw", fmt.Sprintf("more-%d", i), 0)
	}
	if _, err := r.SetPinned(t.Context(), first.EntryID, true); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteVolume(t.Context(), "local", "v1"); err != nil {
		t.Fatal(err)
	}
	r.Controls().NoteAct(plugin.Act{Who: "somebody", What: "delete-volume-anywhere /v1/volumes/v1", Volume: "v1"})
	story, err := r.Controls().ExplainVolume(t.Context(), "local", "v1")
	if err != nil {
		t.Fatal(err)
	}
	if len(story.Fills) != 1 || story.Fills[0].Kind != plugin.EventFilled {
		t.Errorf("fills: got %+v", story.Fills)
	}
	if n := len(story.After); n != 3 || story.After[0].Kind != plugin.EventPinned || story.After[1].Kind != plugin.EventVolumeDeleted || story.After[2].Who != "somebody" {
		t.Errorf("after: got %+v, want that it was pinned, then the deletion, and whose that was", story.After)
	}
}

// Of a volume on a backend that does not answer it is not said that there is none.
func TestAStoryOfABackendThatDoesNotAnswer(t *testing.T) {
	away := memory()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(away))
	r.image(t, "a.raw", mib)
	r.create(t, "library:a.raw", "v1", 0)
	if err := away.Close(); err != nil {
		t.Fatal(err)
	}
	story, err := r.Controls().ExplainVolume(t.Context(), "local", "v1")
	if err != nil || story.Exists || story.Unseen != "local does not answer" || len(story.Requests) != 1 {
		t.Errorf("got %+v, %v", story, err)
	}
}
