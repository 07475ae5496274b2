package catalog

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// lent notes a loan of an entry, for a minute.
func lent(t *testing.T, c *Catalog, e Entry, to string) (Loan, error) {
	t.Helper()
	return c.Lend(t.Context(), Loan{Entry: e.ID, Store: e.Store, ImageVolume: e.ImageVolume, Generation: "g1", LentTo: backends.VolumeName(to), Host: "h"}, time.Minute)
}

func livingLoans(t *testing.T, c *Catalog, e Entry, want int) {
	t.Helper()
	n, err := c.LoansOf(t.Context(), e.ID)
	if err != nil || n != want {
		t.Errorf("loans of the entry: got %d, %v, want %d", n, err, want)
	}
}

func TestALoanLivesUntilItIsEndedOrItsTimeIsOver(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	e := mustReady(t, c, spec("lent"), 100)
	first, err := lent(t, c, e, "v1")
	is(t, "lend", err, nil)
	if first.Until.Sub(first.LentAt) != time.Minute || first.Generation != "g1" {
		t.Errorf("the loan is %+v", first)
	}
	second, err := lent(t, c, e, "v2")
	is(t, "lend again", err, nil)
	livingLoans(t, c, e, 2)

	ended, err := c.EndLoan(ctx, first.ID)
	if err != nil || ended != first {
		t.Errorf("ended: got %+v, %v, want %+v", ended, err, first)
	}
	_, err = c.EndLoan(ctx, first.ID)
	is(t, "end twice", err, ErrNotFound)
	livingLoans(t, c, e, 1)

	at.add(30 * time.Second)
	renewed, err := c.RenewLoan(ctx, second.ID, func(l Loan) time.Duration {
		if l != second {
			t.Errorf("renews %+v, want %+v", l, second)
		}
		return time.Minute
	})
	if err != nil || renewed.Until.Sub(second.Until) != 30*time.Second {
		t.Errorf("renewed: %+v, %v", renewed, err)
	}
	at.add(45 * time.Second)
	livingLoans(t, c, e, 1)

	at.add(15 * time.Second)
	livingLoans(t, c, e, 0)
	for _, id := range []LoanID{first.ID, second.ID} {
		_, err = c.RenewLoan(ctx, id, func(Loan) time.Duration { return time.Minute })
		is(t, "renew what has ended", err, ErrNoLoan)
	}
	livingLoans(t, c, e, 0)
	if all, err := c.Loans(ctx); err != nil || len(all) != 0 {
		t.Errorf("loans: %v, %v", all, err)
	}
	n, err := c.ExpireLoans(ctx)
	if err != nil || n != 1 {
		t.Errorf("expired: got %d, %v, want 1", n, err)
	}
}

// Whoever comes second sees the other: an eviction the loan, a loan the eviction.
func TestALoanAndAnEvictionSeeEachOther(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	e := mustReady(t, c, spec("lent"), 100)
	_, err := lent(t, c, e, "v1")
	is(t, "lend", err, nil)
	_, err = c.BeginEvict(ctx, e.ID, CauseAdmin)
	is(t, "evict", err, nil)
	livingLoans(t, c, e, 1)

	_, err = lent(t, c, e, "v2")
	is(t, "lend what is evicting", err, ErrLost)
	livingLoans(t, c, e, 1)
	gone := e
	gone.ID = "gone"
	_, err = lent(t, c, gone, "v3")
	is(t, "lend what is not there", err, ErrLost)
	livingLoans(t, c, gone, 0)
}

func TestAReadyEntryThatGrowsCountsBeforeItHolds(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	grows, idle := mustReady(t, c, spec("grows"), 100), mustReady(t, c, spec("idle"), 50)
	var others int64
	victims, err := c.ReserveMore(ctx, grows.ID, 200, func(h Holdings) (map[EntryID]EvictCause, error) {
		for _, s := range h.Totals {
			others += s.CountedBytes
		}
		return map[EntryID]EvictCause{idle.ID: CauseSize}, nil
	})
	if err != nil || len(victims) != 1 || victims[0].ID != idle.ID || others != 50 {
		t.Errorf("reserve: victims %v, others %d, %v", victims, others, err)
	}
	e, err := c.Get(ctx, grows.ID)
	if err != nil || e.CountedBytes() != 200 || e.HeldBytes != 100 {
		t.Errorf("while it grows: %+v, %v", e, err)
	}
	is(t, "end", c.EndReserve(ctx, grows.ID, 200, 2), nil)
	third := mustReady(t, c, spec("third"), 10)
	var entries int64
	_, err = c.ReserveMore(ctx, third.ID, 20, func(h Holdings) (map[EntryID]EvictCause, error) {
		for _, s := range h.Totals {
			entries += s.Entries
		}
		return nil, nil
	})
	if err != nil || entries != 3 { // the one that grew is two, the evicting one is one
		t.Errorf("beside others count %d, %v, want 3", entries, err)
	}
	e, err = c.Get(ctx, grows.ID)
	if err != nil || e.ReservedBytes != 0 || e.HeldBytes != 200 {
		t.Errorf("once it has grown: %+v, %v", e, err)
	}
	_, err = c.ReserveMore(ctx, idle.ID, 100, nil)
	is(t, "an evicting one", err, ErrLost)
}

// A loan lasts as who has it was told, whatever the configuration says by now; a longer time counts at once.
func TestALoanLastsAsWasPromised(t *testing.T) {
	for name, c := range map[string]struct{ promised, now, until, renewed time.Duration }{
		"shorter by now":        {promised: 30 * time.Minute, now: time.Minute, until: 30 * time.Minute, renewed: 40 * time.Minute},
		"longer by now":         {promised: 30 * time.Minute, now: time.Hour, until: 30 * time.Minute, renewed: 70 * time.Minute},
		"lent for longer":       {promised: time.Minute, now: time.Minute, until: time.Hour, renewed: 11 * time.Minute},
		"of before the promise": {promised: 0, now: time.Minute, until: 30 * time.Minute, renewed: 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			catalog, at := fresh(t)
			e := mustReady(t, catalog, spec("lent"), 100)
			l, err := catalog.Lend(t.Context(), Loan{Entry: e.ID, Store: e.Store, ImageVolume: e.ImageVolume, Generation: "g1", LentTo: "v1", Lasts: c.promised}, c.until)
			is(t, "lend", err, nil)
			at.add(10 * time.Minute)
			renewed, err := catalog.RenewLoan(t.Context(), l.ID, func(Loan) time.Duration { return c.now })
			is(t, "renew", err, nil)
			if got := renewed.Until.Sub(l.LentAt); got != c.renewed {
				t.Errorf("it ends after %v, want %v", got, c.renewed)
			}
			all, err := catalog.Loans(t.Context())
			if err != nil || len(all) != 1 || all[0] != renewed {
				t.Errorf("it is %+v, %v, want %+v", all, err, renewed)
			}
		})
	}
}

// What is kept is nobody's: it holds its entry for a while from each time that it is kept, and no longer.
func TestALoanIsKeptForTheNext(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	e := mustReady(t, c, spec("kept"), 100)
	l, err := lent(t, c, e, "v1")
	is(t, "lend", err, nil)
	for range 2 {
		at.add(5 * time.Second)
		kept, err := c.KeepLoan(ctx, l.ID, 8*time.Second)
		is(t, "keep", err, nil)
		if kept.LentTo != "" || kept.Lasts != 8*time.Second || kept.Until.Sub(l.LentAt) > 18*time.Second {
			t.Errorf("kept: %+v", kept)
		}
	}
	livingLoans(t, c, e, 1)
	if n, err := c.LoansAtWork(ctx, e.ID); err != nil || n != 0 {
		t.Errorf("at work: got %d, %v, want 0", n, err)
	}
	renewed, err := c.RenewLoan(ctx, l.ID, func(l Loan) time.Duration { return l.Lasts })
	if err != nil || renewed.Lasts != 8*time.Second {
		t.Errorf("renewed: %+v, %v", renewed, err)
	}
	_, err = c.BeginEvict(ctx, e.ID, CauseAdmin)
	is(t, "evict", err, nil)
	kept, err := c.KeepLoan(ctx, l.ID, 8*time.Second)
	is(t, "keep what goes", err, ErrLost)
	if kept.ID != l.ID {
		t.Errorf("who has it must hear of which: %+v", kept)
	}
	livingLoans(t, c, e, 1)
	at.add(8 * time.Second)
	livingLoans(t, c, e, 0)
	_, err = c.KeepLoan(ctx, l.ID, 8*time.Second)
	is(t, "keep what has ended", err, ErrNoLoan)
	if n, err := c.ExpireLoans(ctx); err != nil || n != 0 {
		t.Errorf("expired: got %d, %v; nobody need hear of what was kept", n, err)
	}
	_, err = c.EndLoan(ctx, l.ID)
	is(t, "its row is gone", err, ErrNotFound)
}
