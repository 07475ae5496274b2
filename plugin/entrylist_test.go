package plugin_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// The list by clones goes by those that there are, not by those that the catalog last heard of; and its pages are one list.
func TestEntriesAreSortedByWhatIsShown(t *testing.T) {
	backend := &lookedAt{Memory: backendtest.NewMemory(backendtest.MemoryConfig{})}
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
	var ids []string
	for i := range 3 { // the first has three clones, the last one has one
		name := fmt.Sprint("disk-", i)
		source.put(name, "1", random(mib+i*4096))
		for n := range 3 - i {
			id := r.create(t, "gated:"+name, fmt.Sprintf("v%d-%d", i, n), 0).EntryID
			ids = append(ids, id)
		}
	}
	ids = slices.Compact(ids)
	behindOurBack(t, backend.Memory, "v0-1")
	behindOurBack(t, backend.Memory, "v0-2")
	listed := func(f plugin.EntryFilter) (got []string) {
		for {
			page, err := r.Entries(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				got = append(got, fmt.Sprintf("%d:%s", e.Clones, e.ID))
			}
			if len(page) == 0 || f.Limit == 0 {
				return got
			}
			f.After = page[len(page)-1].ListPlace
		}
	}
	want := []string{"2:" + ids[1], "1:" + ids[2], "1:" + ids[0]}
	for limit := range 4 {
		if got := listed(plugin.EntryFilter{Sort: plugin.SortClones, Limit: limit}); !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %v, want %v", limit, got, want)
		}
	}
	if got := listed(plugin.EntryFilter{Sort: plugin.SortHits, Contains: "disk-2"}); !slices.Equal(got, want[1:2]) {
		t.Errorf("of disk-2: got %v, want %v", got, want[1:2])
	}
}

func TestAnOrderThatThereIsNotIsRefused(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{})
	for _, f := range []plugin.EntryFilter{
		{Sort: "odd"}, {Sort: plugin.SortHits, After: "0197c2f4"}, {Sort: plugin.SortUsed, After: "x:0197c2f4"},
		{After: "0197c2f4-1b7e"}, {After: "zz"}, {After: "0197C2F4-1B7E-7000-8000-000000000001"}, {Sort: plugin.SortHits, After: "0:0197c2f4-1b7e"},
	} {
		_, err := r.Entries(t.Context(), f)
		if !errors.Is(err, plugin.ErrBadRequest) || strings.Contains(err.Error(), "odd") != (f.Sort == "odd") {
			t.Errorf("%+v: got %v", f, err)
		}
	}
}
