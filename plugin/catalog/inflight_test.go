package catalog

import (
	"reflect"
	"testing"
	"time"
)

func TestOthersSeeHowFarAFillIs(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	ready := mustReady(t, c, spec("ready"), 1)
	s := spec("k")
	s.TotalBytes = 100
	begun := at.now()
	e := mustFill(t, c, s)
	look := func(what string, want ...FillInFlight) {
		t.Helper()
		got, err := c.InFlight(ctx)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %d fills, %v, want %d", what, len(got), err, len(want))
		}
		for i, w := range want {
			w.Entry = mustGet(t, c, w.Entry.ID)
			one, err := c.FillOf(ctx, w.Entry.ID)
			if err != nil || !reflect.DeepEqual(one, w) || !reflect.DeepEqual(got[i], w) {
				t.Errorf("%s: got %+v, alone %+v, %v, want %+v", what, got[i], one, err, w)
			}
		}
	}
	look("begun", FillInFlight{Entry: e, BegunAt: begun, Progress: FillProgress{Total: 100}})

	at.add(10 * time.Second)
	so := FillProgress{Read: 40, Written: 30, Total: 100}
	is(t, "renew", c.Renew(ctx, e.ID, 1, me, lease, so), nil)
	look("renewed", FillInFlight{Entry: e, BegunAt: begun, Progress: so})
	is(t, "renew another's", c.Renew(ctx, e.ID, 1, you, lease, FillProgress{Read: 90}), ErrLost)
	look("renewed by nobody else", FillInFlight{Entry: e, BegunAt: begun, Progress: so})

	at.add(lease)
	look("run out")
	for name, id := range map[string]EntryID{"run out": e.ID, "ready": ready.ID, "absent": "absent"} {
		_, err := c.FillOf(ctx, id)
		is(t, name, err, ErrNotFound)
	}

	again := at.now()
	s.Holder, s.TotalBytes = you, -1
	second, previous, start, err := c.BeginFill(ctx, s)
	if err != nil || start != Started || previous.ID != e.ID {
		t.Fatalf("taken over: %v, %v", start, err)
	}
	look("taken over", FillInFlight{Entry: second, BegunAt: again, Progress: FillProgress{Total: -1}})
}

// Fills that wait for their turn keep nobody from the last place that a bound leaves.
func TestAFillWithoutRoomDoesNotCount(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	first, second := mustFill(t, c, spec("k1")), mustFill(t, c, spec("k2"))
	pinned := mustFill(t, c, spec("k3"))
	mustPin(t, c, pinned.ID, true)
	counted := func(own Entry) (n int64) {
		t.Helper()
		_, err := c.ReserveRoom(ctx, own.ID, own.Attempt, 0, func(h Holdings) (map[EntryID]EvictCause, error) {
			for _, s := range h.Totals {
				n += s.Entries
			}
			return nil, nil
		})
		is(t, "reserve", err, nil)
		return n
	}
	held := func(want int) {
		t.Helper()
		got, err := c.Held(ctx)
		if err != nil || got["local"].Entries != want {
			t.Errorf("held: %+v, %v, want %d entries", got, err, want)
		}
	}
	held(0)
	if n := counted(first); n != 0 {
		t.Errorf("beside fills that wait: %d entries, want none", n)
	}
	held(1)
	if n := counted(second); n != 1 {
		t.Errorf("beside one that has room: %d entries, want 1", n)
	}
	if n := counted(pinned); n != 2 {
		t.Errorf("a pinned one beside two: %d entries, want 2", n)
	}
	held(3)
	is(t, "forget", c.ForgetFill(ctx, first.ID, first.Attempt), nil)
	is(t, "fail", c.FailFill(ctx, second.ID, second.Attempt, Failure{Text: "x"}), nil)
	again := mustFill(t, c, spec("k2"))
	held(1)
	if n := counted(again); n != 1 {
		t.Errorf("another attempt: %d entries, want 1", n)
	}
}
