package catalog

import (
	"sync"
	"testing"
	"time"
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
