package scale

import (
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// dependent clones are the harder case: what is alive is asked of the backend.
var dependent = backends.Info{CanClone: true, CloneMethod: "memory"}

// step is something that an operator or a requester does, with how many image-volumes it may have listed
// and how many calls it may have made, of n.
type step struct {
	name   string
	do     func(t *testing.T, p *plugin.Plugin)
	listed func(n int64) int64
	calls  func(n int64) int64
}

func none(int64) int64     { return 0 }
func one(int64) int64      { return 1 }
func once(n int64) int64   { return n + 1 }
func thrice(n int64) int64 { return 3*n + 3 }

func steps() []step {
	return []step{
		{"a hit", func(t *testing.T, p *plugin.Plugin) { create(t, p, imageID(3), "hit", plugin.Hit) }, none, one},
		{"a fill with room", func(t *testing.T, p *plugin.Plugin) { create(t, p, "new", "filled", plugin.Filled) }, none, one},
		{"a page of entries", func(t *testing.T, p *plugin.Plugin) {
			page, err := p.Entries(t.Context(), plugin.EntryFilter{After: entryID(2), Limit: 5})
			if err != nil || len(page) != 5 || page[0].ID != entryID(3) {
				t.Errorf("got %d entries, %v, want 5 from %s", len(page), err, entryID(3))
			}
		}, none, none},
		{"the report", func(t *testing.T, p *plugin.Plugin) {
			if _, err := p.Report(t.Context(), "", time.Time{}); err != nil {
				t.Error(err)
			}
		}, none, none},
		{"the backends", func(t *testing.T, p *plugin.Plugin) {
			if _, err := p.Backends(t.Context()); err != nil {
				t.Error(err)
			}
		}, none, none},
		{"the quota", func(t *testing.T, p *plugin.Plugin) {
			if _, err := p.Quota(t.Context()); err != nil {
				t.Error(err)
			}
		}, once, none},
		{"a check", func(t *testing.T, p *plugin.Plugin) {
			r, err := p.Check(t.Context(), plugin.CheckOptions{})
			if err != nil {
				t.Error(err)
			}
			for _, problem := range r.Problems {
				if problem.Kind != "held-bytes" { // clones are counted when somebody looks
					t.Errorf("got %+v, want none", problem)
				}
			}
		}, thrice, none},
		{"deleting an entry", func(t *testing.T, p *plugin.Plugin) {
			if _, err := p.DeleteEntry(t.Context(), entryID(5), false); err != nil {
				t.Error(err)
			}
		}, once, one},
		{"cleaning", func(t *testing.T, p *plugin.Plugin) {
			if _, err := p.Clean(t.Context()); err != nil {
				t.Error(err)
			}
		}, thrice, none},
		{"deleting all idle entries", func(t *testing.T, p *plugin.Plugin) {
			r, err := p.DeleteAllEntries(t.Context(), "local", false)
			if err != nil || len(r.Removed) == 0 {
				t.Errorf("got %d removed, %v, want all but two", len(r.Removed), err)
			}
		}, once, once},
		{"deleting all entries", func(t *testing.T, p *plugin.Plugin) {
			r, err := p.DeleteAllEntries(t.Context(), "local", true)
			if err != nil || len(r.Removed) != 2 {
				t.Errorf("got %d removed, %v, want the two in use", len(r.Removed), err)
			}
		}, none, once},
	}
}

func TestNothingAsksMoreOfABackendThanItsImageVolumesGive(t *testing.T) {
	for _, n := range []int{20, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			place := newPlace(t, n, 100, dependent)
			p := place.open(t, 0)
			if listed, calls := place.counting.take(); listed > thrice(int64(n)) || calls != 0 {
				t.Errorf("the start: %d image-volumes listed, %d calls, want at most %d and none", listed, calls, thrice(int64(n)))
			}
			for _, s := range steps() {
				s.do(t, p)
				listed, calls := place.counting.take()
				if listed > s.listed(int64(n)+1) || calls > s.calls(int64(n)+1) {
					t.Errorf("%s: %d image-volumes listed, %d calls, want at most %d and %d",
						s.name, listed, calls, s.listed(int64(n)+1), s.calls(int64(n)+1))
				}
			}
		})
	}
}

func TestAFillAtTheBoundAsksForClonesOnceAtMost(t *testing.T) {
	const n = 100
	place := newPlace(t, n, 0, dependent)
	p := place.open(t, n)
	place.counting.take()
	create(t, p, "new", "v", plugin.Filled) // an idle entry goes
	if listed, calls := place.counting.take(); listed != 0 || calls != 2 {
		t.Errorf("with idle entries: %d image-volumes listed, %d calls, want none and two", listed, calls)
	}
	for i := range n {
		if i != 0 { // the victim
			create(t, p, imageID(i), fmt.Sprint("v", i), plugin.Hit)
		}
	}
	place.counting.take()
	create(t, p, "newer", "w", plugin.Filled) // one in use goes
	if listed, calls := place.counting.take(); listed > once(n) || calls != 2 {
		t.Errorf("with all in use: %d image-volumes listed, %d calls, want at most %d and two", listed, calls, once(n))
	}
}
