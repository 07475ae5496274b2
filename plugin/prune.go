package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// Prune evicts what is over the bounds, which may have been lowered, and what nobody has used for longer
// than MaxIdle. Pinned entries stay.
func (p *Plugin) Prune(ctx context.Context) (PruneResult, error) {
	return p.remover.prune(ctx)
}

// prune is Prune.
func (rm *remover) prune(ctx context.Context) (PruneResult, error) {
	r := PruneResult{Removed: []EntryView{}, Unavailable: []UnavailableView{}}
	if err := rm.books.flush(ctx); err != nil {
		return r, err
	}
	for _, s := range rm.stock.orderedStores() {
		if rm.stock.leaveUnused(&r.Unavailable, s) {
			continue
		}
		err := rm.pruneStore(ctx, s, byHand, &r)
		if rm.stock.leaveOut(&r.Unavailable, s, err) { // which keeps nobody from the others
			rm.log.WithField("backend", s.name).WithError(err).Warn("not pruned: it does not answer")
			continue
		}
		if err != nil {
			return r, fmt.Errorf("prune %s: %w", s.name, err)
		}
	}
	return r, nil
}

func (rm *remover) pruneStore(ctx context.Context, s *store, by whose, r *PruneResult) error {
	if err := rm.stock.ensure(ctx, s); err != nil {
		return err
	}
	free, err := s.enterRoom(ctx)
	if err != nil {
		return err
	}
	defer free()
	going, err := rm.prunable(ctx, s, by)
	if err != nil {
		return err
	}
	for _, g := range going {
		if err := rm.evictInto(ctx, s, g.entry, catalog.CausePrune, r); err != nil && !isGone(err) && !errors.Is(err, catalog.ErrPinned) {
			return err
		}
	}
	return nil
}
