package catalog

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestAnEvictionFromBeginToEnd(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	since := at.now()
	e := mustReady(t, c, spec("k"), 100)
	mustPin(t, c, e.ID, true)
	_, err := c.BeginEvict(ctx, e.ID, CauseAdmin)
	is(t, "evict a pinned one", err, ErrPinned)
	mustPin(t, c, e.ID, false)
	is(t, "detach a ready one", c.SetDetached(ctx, e.ID, 1, 1), ErrLost)
	is(t, "remove a ready one", c.Remove(ctx, e.ID), ErrLost)

	evicting, err := c.BeginEvict(ctx, e.ID, CauseAdmin)
	is(t, "evict", err, nil)
	want := e
	want.State, want.EvictCause = Evicting, CauseAdmin
	same(t, "evicting", evicting, want)
	_, err = c.BeginEvict(ctx, e.ID, CauseSize)
	is(t, "evict again", err, ErrLost)
	_, err = c.Find(ctx, "local", "project:p1", "k")
	is(t, "find", err, ErrNotFound)
	next := mustFill(t, c, spec("k"))
	if next.ID == e.ID || next.Attempt != 1 {
		t.Errorf("the next one: %+v", next)
	}

	is(t, "detach", c.SetDetached(ctx, e.ID, 2, 90), nil)
	is(t, "detach again", c.SetDetached(ctx, e.ID, 1, 80), nil)
	is(t, "observe", c.Observe(ctx, []Observation{{e.ID, 70, 1}}), nil)
	used := Request{At: since.Add(-time.Hour), Backend: "local", Entry: e.ID, Outcome: "hit", Clones: 1}
	is(t, "record a clone of before", c.Record(ctx, "x", 0, []Request{used}), nil)
	want.State, want.Clones, want.HeldBytes, want.Hits = Detached, 1, 70, e.Hits+1
	same(t, "detached", mustGet(t, c, e.ID), want)
	for range 2 {
		is(t, "remove", c.Remove(ctx, e.ID), nil)
	}
	_, err = c.Get(ctx, e.ID)
	is(t, "removed", err, ErrNotFound)
	stats, err := c.Evictions(ctx, since)
	if want := []EvictionStat{{"local", CauseAdmin, 1, 70}}; err != nil || !slices.Equal(stats, want) {
		t.Errorf("evictions %+v, %v, want %+v", stats, err, want)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	_, err := c.BeginEvict(ctx, "absent", CauseAdmin)
	is(t, "evict", err, ErrNotFound)
	_, err = c.SetPinned(ctx, "absent", true)
	is(t, "pin", err, ErrNotFound)
	is(t, "detach", c.SetDetached(ctx, "absent", 0, 0), ErrLost)
	is(t, "observe", c.Observe(ctx, []Observation{{"absent", 1, 1}}), nil)
	is(t, "remove", c.Remove(ctx, "absent"), nil)
	_, err = c.Find(ctx, "local", "", "absent")
	is(t, "find", err, ErrNotFound)
}

func TestAFailedRowIsRemovedWithoutBeingCounted(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	e := mustFill(t, c, spec("k"))
	is(t, "remove a filling one", c.Remove(ctx, e.ID), ErrLost)
	is(t, "observe a filling one", c.Observe(ctx, []Observation{{e.ID, 5, 5}}), nil)
	same(t, "filling", mustGet(t, c, e.ID), e)
	is(t, "fail", c.FailFill(ctx, e.ID, 1, Failure{Text: "x", RetryAfter: time.Time{}}), nil)
	is(t, "remove", c.Remove(ctx, e.ID), nil)
	if stats, err := c.Evictions(ctx, time.Time{}); err != nil || len(stats) != 0 {
		t.Errorf("evictions %+v, %v", stats, err)
	}
}

func TestALostClaimIsReplaced(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	want := mustReady(t, c, spec("k"), 10)
	is(t, "ready", c.SetClaim(ctx, want.ID, "new"), nil)
	want.Claim = "new"
	same(t, "claimed", mustGet(t, c, want.ID), want)
	filling := mustFill(t, c, spec("filling"))
	is(t, "filling", c.SetClaim(ctx, filling.ID, "new"), ErrLost)
	is(t, "absent", c.SetClaim(ctx, "absent", "new"), ErrLost)
}

func TestReserveRoomSeesWhatCounts(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	ready := mustReady(t, c, spec("ready"), 10)
	evicting := mustReady(t, c, spec("evicting"), 20)
	_, err := c.BeginEvict(ctx, evicting.ID, CauseSize)
	is(t, "evict", err, nil)
	var detached int64
	for n := range int64(3) {
		e := mustReady(t, c, spec(Key(fmt.Sprint("detached", n))), 30)
		_, err := c.BeginEvict(ctx, e.ID, CauseSize)
		is(t, "evict", err, nil)
		is(t, "detach", c.SetDetached(ctx, e.ID, 1, 30+n), nil)
		detached += 30 + n
	}
	failed := mustFill(t, c, spec("failed"))
	is(t, "fail", c.FailFill(ctx, failed.ID, 1, Failure{Text: "x", RetryAfter: time.Time{}}), nil)
	filling := mustFill(t, c, spec("filling"))
	reserve(t, c, filling, 40)
	elsewhere := spec("elsewhere")
	elsewhere.Store = "other"
	mustReady(t, c, elsewhere, 50)

	mine := mustFill(t, c, spec("mine"))
	var seen Holdings
	victims, err := c.ReserveRoom(ctx, mine.ID, 1, 60, func(h Holdings) (map[EntryID]EvictCause, error) {
		seen = h
		return map[EntryID]EvictCause{ready.ID: CauseCount}, nil
	})
	is(t, "room", err, nil)
	got := make(map[State]Total)
	for _, s := range seen.Totals {
		if s.Entries != 0 {
			got[s.State] = s
		}
	}
	if want := map[State]Total{
		Ready:    {Store: "local", State: Ready, Entries: 1, CountedBytes: 10, HeldBytes: 10},
		Evicting: {Store: "local", State: Evicting, Entries: 1, CountedBytes: 20, HeldBytes: 20},
		Filling:  {Store: "local", State: Filling, Entries: 1, CountedBytes: 40},
		Detached: {Store: "local", State: Detached, InUse: true, Entries: 3, CountedBytes: detached, HeldBytes: detached},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	want := ready
	want.State, want.EvictCause = Evicting, CauseCount
	if len(victims) != 1 {
		t.Fatalf("victims %+v", victims)
	}
	same(t, "victim", victims[0], want)
	if got := mustGet(t, c, mine.ID).ReservedBytes; got != 60 {
		t.Errorf("reserved %d", got)
	}
}

// reserve reserves without evicting.
func reserve(t testing.TB, c *Catalog, e Entry, bytes int64) {
	t.Helper()
	_, err := c.ReserveRoom(t.Context(), e.ID, e.Attempt, bytes, func(Holdings) (map[EntryID]EvictCause, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestReserveRoomIsAllOrNothing(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	ready := mustReady(t, c, spec("ready"), 10)
	pinned := mustReady(t, c, spec("pinned"), 10)
	mustPin(t, c, pinned.ID, true)
	elsewhere := spec("elsewhere")
	elsewhere.Store = "other"
	other := mustReady(t, c, elsewhere, 50)
	mine := mustFill(t, c, spec("mine"))
	refusal := errors.New("no room")
	tests := []struct {
		name    string
		victims map[EntryID]EvictCause
		err     error
		want    error // nil: any
	}{
		{"decide refuses", map[EntryID]EvictCause{ready.ID: CauseSize}, refusal, refusal},
		{"a pinned victim", map[EntryID]EvictCause{ready.ID: CauseSize, pinned.ID: CauseSize}, nil, ErrPinned},
		{"the fill itself", map[EntryID]EvictCause{ready.ID: CauseSize, mine.ID: CauseSize}, nil, nil},
		{"another store's", map[EntryID]EvictCause{ready.ID: CauseSize, other.ID: CauseSize}, nil, nil},
		{"nobody", map[EntryID]EvictCause{ready.ID: CauseSize, "zzz": CauseSize}, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			victims, err := c.ReserveRoom(ctx, mine.ID, 1, 60, func(Holdings) (map[EntryID]EvictCause, error) {
				return test.victims, test.err
			})
			if err == nil || len(victims) != 0 || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%v, %v", err, victims)
			}
			if test.err != nil && err != test.err {
				t.Errorf("got %v, want decide's own error", err)
			}
			same(t, "the other", mustGet(t, c, ready.ID), mustGet(t, c, ready.ID))
			if got := mustGet(t, c, ready.ID); got.State != Ready {
				t.Errorf("the first victim is %s", got.State)
			}
			same(t, "mine", mustGet(t, c, mine.ID), mine)
		})
	}
}
