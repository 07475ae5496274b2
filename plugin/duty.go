package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// A duty is what one daemon at a time does on a store, though all of them could: comparing it with the catalog, freeing what
// evictions have left. Whoever does it holds a lease by the database's clock. A duty does no harm where it is done twice at
// once, as by one that was stopped in it: whoever mends looks once more at what it has found, and who makes a generation leaves its claim
// once it was overtaken. The lease saves the work, and events that say one thing twice.

// dutyWanted is a duty on a store; "": on the whole catalog.
type dutyWanted struct {
	duty   catalog.Duty
	store  backends.StoreID
	entry  EntryID             // that alone; "": the whole store
	volume backends.VolumeName // that alone, by its name; "": the whole store
	// every is how long it rests after it was done, by whomever; 0: not at all.
	every time.Duration
	// apart: something else is done while nobody else is on the duty, which is as due afterwards as it was.
	apart bool
}

// onDuty does what is a duty, if it is free and due. Where nobody else has the catalog, it always is. Losing the lease ends
// do's context with catalog.ErrLost.
func (h *house) onDuty(ctx context.Context, want dutyWanted, do func(context.Context) error) (catalog.DutyStart, error) {
	if h.sole {
		return catalog.OnDuty, do(ctx)
	}
	lease, start, err := h.takeDuty(ctx, want)
	if err != nil || start != catalog.OnDuty {
		return start, err
	}
	return start, h.underLease(ctx, want, lease, do)
}

func (h *house) takeDuty(ctx context.Context, want dutyWanted) (catalog.DutyLease, catalog.DutyStart, error) {
	return h.catalog.TakeDuty(ctx, h.specOf(want))
}

func (h *house) specOf(want dutyWanted) catalog.DutySpec {
	return catalog.DutySpec{
		Duty: want.duty, Store: want.store, Entry: want.entry, Volume: want.volume, Holder: h.holder, LeaseFor: h.cfg.LeaseFor, Every: want.every,
	}
}

// awaitDuty does what is a duty once it is free, whether it is due or not. The longest that it waits for one that died in it is a lease.
func (h *house) awaitDuty(ctx context.Context, want dutyWanted, do func(context.Context) error) error {
	want.every = 0
	var pause backoff
	for {
		start, err := h.onDuty(ctx, want, do)
		if err != nil || start == catalog.OnDuty {
			return err
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// underLease does what is a duty, and lets others have it then: while it is cancelled, too, nobody else does.
func (h *house) underLease(ctx context.Context, want dutyWanted, lease catalog.DutyLease, do func(context.Context) error) error {
	held, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	stop := h.keepRenewed(context.WithoutCancel(held), lost, func(ctx context.Context) error {
		err := h.catalog.RenewDuty(ctx, lease, h.cfg.LeaseFor)
		if errors.Is(err, catalog.ErrLost) {
			h.log.WithFields(fieldsOf(lease)).Warn("duty is lost: its lease was not renewed in time, and another host may have it")
		}
		return err
	})
	err := do(held)
	stop()
	if cause := context.Cause(held); err != nil && errors.Is(cause, catalog.ErrLost) {
		return errors.Join(cause, err)
	}
	ending, cancel := h.cleanup(ctx)
	defer cancel()
	if ended := h.catalog.EndDuty(ending, lease, catalog.Ending(err == nil && !want.apart)); ended != nil && !errors.Is(ended, catalog.ErrLost) {
		h.log.WithFields(fieldsOf(lease)).WithError(ended).Warn("duty not given back; others have it when its lease has run out")
	}
	return err
}

// fieldsOf tells which duty a lease is of.
func fieldsOf(l catalog.DutyLease) map[string]any {
	fields := map[string]any{"duty": l.Duty, "store": l.Store}
	if l.Entry != "" {
		fields["entry"] = l.Entry
	}
	return fields
}
