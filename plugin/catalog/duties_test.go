package catalog

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

func dutySpec(h Holder) DutySpec {
	return DutySpec{Duty: DutyReconcile, Store: "local", Holder: h, LeaseFor: lease}
}

func TestADutyIsOnesAtATime(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	take := func(what string, s DutySpec, want DutyStart) DutyLease {
		t.Helper()
		l, start, err := c.TakeDuty(ctx, s)
		if err != nil || start != want {
			t.Fatalf("%s: %v, %v, want %v", what, start, err, want)
		}
		return l
	}
	mine := take("first", dutySpec(me), OnDuty)
	take("by another one", dutySpec(you), Elsewhere)
	take("twice by one", dutySpec(me), Elsewhere)
	elsewhere := dutySpec(you)
	elsewhere.Store = "other"
	take("on another store", elsewhere, OnDuty)

	at.add(lease - time.Second)
	is(t, "renew", c.RenewDuty(ctx, mine, lease), nil)
	at.add(lease - time.Second)
	take("renewed", dutySpec(you), Elsewhere)
	at.add(time.Second)
	yours := take("run out", dutySpec(you), OnDuty)
	is(t, "renew what was lost", c.RenewDuty(ctx, mine, lease), ErrLost)
	is(t, "end what was lost", c.EndDuty(ctx, mine, Done), ErrLost)
	is(t, "give up", c.EndDuty(ctx, yours, Undone), nil)

	rested := dutySpec(me)
	rested.Every = time.Minute
	mine = take("given up, so due", rested, OnDuty)
	is(t, "end", c.EndDuty(ctx, mine, Done), nil)
	take("done", rested, Rests)
	at.add(time.Minute)
	take("due again", rested, OnDuty)
	take("by an heir of the instance", dutySpec(Holder{Instance: me.Instance, Incarnation: "2"}), OnDuty)
}

// What goes wrong once a reconcile has begun it may miss: it counts from then. So does a slow look for orphans, which would
// be left out each other time where it takes longer than the next one is late. Other duties rest from their end.
func TestAReconcileRestsSinceItWasBegun(t *testing.T) {
	for duty, want := range map[Duty]DutyStart{DutyReconcile: OnDuty, DutyClean: OnDuty, DutyReap: Rests} {
		c, at := fresh(t)
		spec := dutySpec(me)
		spec.Duty = duty
		l, _, err := c.TakeDuty(t.Context(), spec)
		is(t, "take", err, nil)
		at.add(lease / 2)
		is(t, "renew", c.RenewDuty(t.Context(), l, lease), nil)
		is(t, "end", c.EndDuty(t.Context(), l, Done), nil)
		at.add(time.Second)
		spec.Every = lease / 2
		if _, start, err := c.TakeDuty(t.Context(), spec); err != nil || start != want {
			t.Errorf("%s: %v, %v, want %v", duty, start, err, want)
		}
	}
}

// Each entry has a duty of its own, of which nothing is left once it was ended; and in the end nothing of one that nobody has ended.
func TestADutyOfAnEntry(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	of := func(entry EntryID, h Holder) DutySpec {
		s := dutySpec(h)
		s.Duty, s.Entry = DutyGrow, entry
		return s
	}
	take := func(what string, s DutySpec, want DutyStart) DutyLease {
		t.Helper()
		l, start, err := c.TakeDuty(ctx, s)
		if err != nil || start != want {
			t.Fatalf("%s: %v, %v, want %v", what, start, err, want)
		}
		return l
	}
	rows := func() (n int) {
		t.Helper()
		is(t, "count", c.read(ctx, "count duties", func(tx tx) error { return tx.row(ctx, `SELECT COUNT(*) FROM duties`).Scan(&n) }), nil)
		return n
	}
	mine := take("first", of("a", me), OnDuty)
	if mine.Entry != "a" || mine.Duty != DutyGrow {
		t.Errorf("got %+v", mine)
	}
	if other := take("by another one", of("a", you), Elsewhere); other.Entry != "a" || other.Holder != me {
		t.Errorf("got %+v, want whose it is", other)
	}
	take("of another entry", of("b", you), OnDuty)
	is(t, "renew", c.RenewDuty(ctx, mine, lease), nil)
	is(t, "end", c.EndDuty(ctx, mine, Done), nil)
	is(t, "end twice", c.EndDuty(ctx, mine, Done), ErrLost)
	if n := rows(); n != 1 {
		t.Errorf("%d rows are left, want that of b", n)
	}
	at.add(time.Second)
	again := take("ended, and does not rest", of("a", me), OnDuty)
	is(t, "renew what was ended", c.RenewDuty(ctx, mine, lease), ErrLost)
	at.add(lease)
	yours := take("run out", of("a", you), OnDuty)
	is(t, "end what was lost", c.EndDuty(ctx, again, Done), ErrLost)
	is(t, "end", c.EndDuty(ctx, yours, Undone), nil)
	at.add(leftAfter)
	take("a day later", of("c", me), OnDuty)
	if n := rows(); n != 1 {
		t.Errorf("%d rows are left, want that of c alone", n)
	}
}

// Each volume's name has a duty of its own, whatever it is called; of it nothing is left once it was ended, nor a day later of one that
// nobody has ended.
func TestADutyOfAName(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	take := func(name string, h Holder, want DutyStart) DutyLease {
		t.Helper()
		s := dutySpec(h)
		s.Duty, s.Volume = DutyMake, backends.VolumeName(name)
		l, start, err := c.TakeDuty(ctx, s)
		if err != nil || start != want {
			t.Fatalf("%.10s: %v, %v, want %v", name, start, err, want)
		}
		return l
	}
	rows := func() (n int) {
		t.Helper()
		is(t, "count", c.read(ctx, "count duties", func(tx tx) error {
			return tx.row(ctx, `SELECT COUNT(*) FROM duties WHERE duty <> 'clean'`).Scan(&n)
		}), nil)
		return n
	}
	long := strings.Repeat("ö ", 500)
	mine := take(long, me, OnDuty)
	if other := take(long, you, Elsewhere); other.Duty != DutyMake || other.Entry != "" || other.Holder != me {
		t.Errorf("got %+v, want whose it is", other)
	}
	take(long+"2", you, OnDuty)
	before := mine
	mine = take(long, me, OnDuty) // who has it anew did not come to giving it back
	is(t, "renew what was taken anew", c.RenewDuty(ctx, before, lease), ErrLost)
	is(t, "renew", c.RenewDuty(ctx, mine, lease), nil)
	is(t, "end", c.EndDuty(ctx, mine, Done), nil)
	is(t, "renew what was ended", c.RenewDuty(ctx, mine, lease), ErrLost)
	if n := rows(); n != 1 {
		t.Errorf("%d rows, want that of the other name", n)
	}
	at.add(lease + leftAfter)
	spec := dutySpec(me)
	spec.Duty = DutyClean
	clean, _, err := c.TakeDuty(ctx, spec)
	is(t, "take clean", err, nil)
	is(t, "end clean", c.EndDuty(ctx, clean, Done), nil)
	if n := rows(); n != 0 {
		t.Errorf("%d rows are left a day later", n)
	}
}

// Of many who want a duty at once one has it, also where they meet on several nodes of a cluster.
func TestOneOfManyIsOnDuty(t *testing.T) {
	c, _ := fresh(t)
	var wg sync.WaitGroup
	won := make(chan DutyStart, 16)
	for i := range cap(won) {
		wg.Go(func() {
			_, start, err := c.TakeDuty(t.Context(), dutySpec(Holder{Instance: InstanceID(rune('a' + i)), Incarnation: "1"}))
			if err != nil {
				t.Error(err)
			}
			won <- start
		})
	}
	wg.Wait()
	close(won)
	on := 0
	for start := range won {
		if start == OnDuty {
			on++
		}
	}
	if on != 1 {
		t.Errorf("%d are on duty, want 1", on)
	}
}

// Whoever only asks takes nothing, and is told who is in its way; whoever takes what was not given back knows that.
func TestADutyThatWasLeftIsToldOf(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	of := func(h Holder) DutySpec {
		s := dutySpec(h)
		s.Duty, s.Volume = DutyMake, "vol"
		return s
	}
	elsewhere := func(what string, h Holder, want bool) {
		t.Helper()
		if got, err := c.DutyElsewhere(ctx, of(h)); err != nil || got != want {
			t.Errorf("%s: elsewhere %v, %v, want %v", what, got, err, want)
		}
	}
	take := func(what string, h Holder, left bool) DutyLease {
		t.Helper()
		l, start, err := c.TakeDuty(ctx, of(h))
		if err != nil || start != OnDuty || l.Left != left {
			t.Fatalf("%s: %+v, %v, %v, want left %v", what, l, start, err, left)
		}
		return l
	}
	elsewhere("nobody", you, false)
	mine := take("first", me, false)
	elsewhere("another one", you, true)
	elsewhere("its own", me, false)
	is(t, "end", c.EndDuty(ctx, mine, Done), nil)
	elsewhere("given back", you, false)
	take("given back", me, false)
	at.add(lease)
	elsewhere("run out", you, false)
	yours := take("run out", you, true)
	is(t, "answer", c.AnswerDuty(ctx, yours, lease), nil)
	at.add(lease / 2)
	is(t, "renew", c.RenewDuty(ctx, yours, lease), nil)
	at.add(lease)
	take("run out, and answered", me, false)
	is(t, "answer what is lost", c.AnswerDuty(ctx, yours, lease), ErrLost)
	at.add(lease)
	take("run out again", you, true)
}
