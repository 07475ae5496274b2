package plugin

import (
	"context"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// inherit settles what hosts that were removed have left half made on the stores which this one has too. What cannot be
// settled yet is tried again.
func (rec *reconciler) inherit(ctx context.Context) {
	if rec.sole {
		return
	}
	for _, s := range rec.stock.orderedStores() {
		if err := rec.inheritOn(ctx, s); err != nil && ctx.Err() == nil {
			rec.log.WithField("backend", s.name).WithError(err).Warn("what removed hosts have left half made is not all settled; trying again")
		}
	}
}

func (rec *reconciler) inheritOn(ctx context.Context, s *store) error {
	if !s.sure() {
		return nil
	}
	left, err := rec.catalog.Estates(ctx, s.id())
	if err != nil || len(left) == 0 {
		return err
	}
	_, err = rec.onDuty(ctx, dutyWanted{duty: catalog.DutyInherit, store: s.id()}, func(ctx context.Context) error {
		for _, host := range left {
			if err := rec.inheritFrom(ctx, s, host); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// inheritFrom settles what one host has left on a store. Where a store can tell nothing of it, what is half made has no volume's
// name, and the store's own sweep removes it.
func (rec *reconciler) inheritFrom(ctx context.Context, s *store, host InstanceID) error {
	heir, ok := backends.Capability[backends.Heir](s.images)
	if ok {
		removed, err := heir.Inherit(ctx, string(host))
		rec.stock.reached(s, err)
		for _, volume := range removed {
			rec.books.note(catalog.Event{
				Kind: EventMended, Backend: s.name, Volume: volume, Reason: "half-made-volume",
				Detail: fmt.Sprintf("host %s, which was removed, had left it half made; it is gone", host),
			})
		}
		if err != nil {
			return err
		}
	}
	if err := rec.catalog.EndEstate(ctx, host, s.id()); err != nil {
		return err
	}
	rec.log.WithFields(map[string]any{"backend": s.name, "host": host}).Info("what a removed host had left half made is settled")
	return nil
}
