package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// Prune evicts what is over the bounds, which may have been lowered, and what nobody has used for longer
// than MaxIdle. Pinned entries stay.
func (p *Plugin) Prune(ctx context.Context) (PruneResult, error) {
	r := PruneResult{Removed: []EntryView{}, Unavailable: []UnavailableView{}}
	if err := p.books.flush(ctx); err != nil {
		return r, err
	}
	for _, s := range p.orderedStores() {
		err := p.pruneStore(ctx, s, &r)
		if p.leaveOut(&r.Unavailable, s, err) { // which keeps nobody from the others
			p.log.WithField("backend", s.name).WithError(err).Warn("not pruned: it does not answer")
			continue
		}
		if err != nil {
			return r, fmt.Errorf("prune %s: %w", s.name, err)
		}
	}
	return r, nil
}

func (p *Plugin) pruneStore(ctx context.Context, s *store, r *PruneResult) error {
	if err := p.ensure(ctx, s); err != nil {
		return err
	}
	free, err := s.enterRoom(ctx)
	if err != nil {
		return err
	}
	defer free()
	going, err := p.prunable(ctx, s)
	if err != nil {
		return err
	}
	for _, g := range going {
		if err := p.evictInto(ctx, s, g.entry, catalog.CausePrune, r); err != nil && !isGone(err) && !errors.Is(err, catalog.ErrPinned) {
			return err
		}
	}
	return nil
}

// enterRoom waits until nobody else makes room in the store; free lets the next one in.
func (s *store) enterRoom(ctx context.Context) (free func(), err error) {
	select {
	case s.room <- struct{}{}:
		return func() { <-s.room }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Clean removes what no entry needs any more: rows of failed fills, image-volumes that a dead process
// left, detached ones whose clones are gone, claims for nothing, and sums older than ReportRetention. What was
// left half made or half removed of volumes is ended too.
func (p *Plugin) Clean(ctx context.Context) (CleanResult, error) {
	var r CleanResult
	failed, err := p.catalog.List(ctx, catalog.Filter{States: []catalog.State{catalog.Failed}})
	if err != nil {
		return r, err
	}
	for _, e := range failed {
		err := p.catalog.Remove(ctx, e.ID)
		if errors.Is(err, catalog.ErrLost) {
			continue // a request fills it again
		}
		if err != nil {
			return r, err
		}
		r.FailedEntries++
	}
	p.settleOpen(ctx)
	for _, s := range p.orderedStores() {
		reaped, err := p.reap(ctx, s)
		if errors.Is(err, backends.ErrUnavailable) {
			p.log.WithField("backend", s.name).WithError(err).Warn("not cleaned: it does not answer")
			continue
		}
		if err != nil {
			return r, fmt.Errorf("reap %s: %w", s.name, err)
		}
		r.Reaped += len(reaped.ImageVolumes)
		r.FreedBytes += reaped.FreedBytes
	}
	if err := p.alone(ctx, func() error { return p.cleanFindings(ctx, &r) }); err != nil {
		return r, err
	}
	return r, p.catalog.Prune(ctx, p.now().Add(-p.cfg.ReportRetention))
}

func (p *Plugin) cleanFindings(ctx context.Context, r *CleanResult) error {
	findings, err := p.survey(ctx)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if err := p.cleanFinding(ctx, f, r); err != nil {
			return err
		}
	}
	return nil
}

// cleanFinding mends only what removes something that nobody needs.
func (p *Plugin) cleanFinding(ctx context.Context, f finding, r *CleanResult) error {
	switch f.Kind {
	case "unfinished-image-volume":
		r.Leftovers++
	case "unknown-claim":
		r.Claims++
	default:
		return nil
	}
	return p.mend(ctx, f)
}
