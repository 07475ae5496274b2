package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// going is an entry that a bound or its age takes.
type going struct {
	entry    catalog.Entry
	detached bool // it has live clones
	why      string
}

// PlanPrune tells what Prune would remove now, and why, and removes nothing.
func (p *Plugin) PlanPrune(ctx context.Context) (PruneResult, error) {
	return p.remover.planPrune(ctx)
}

// planPrune is PlanPrune.
func (rm *remover) planPrune(ctx context.Context) (PruneResult, error) {
	r := PruneResult{Removed: []EntryView{}, Planned: []PlannedRemoval{}, Unavailable: []UnavailableView{}}
	if err := rm.books.flushToRead(ctx); err != nil {
		return r, err
	}
	for _, s := range rm.stock.orderedStores() {
		if rm.stock.leaveUnused(&r.Unavailable, s) {
			continue
		}
		_, err := s.images.Capacity(ctx)
		var all []going
		if err == nil {
			all, err = rm.prunable(ctx, s, byHand)
		}
		if rm.stock.leaveOut(&r.Unavailable, s, err) { // Prune leaves it out too
			continue
		}
		if err != nil {
			return r, fmt.Errorf("plan to prune %s: %w", s.name, err)
		}
		for _, g := range all {
			r.Planned = append(r.Planned, PlannedRemoval{Entry: rm.stock.entryView(g.entry), Goes: true, Detached: g.detached, Why: g.why})
		}
	}
	return r, nil
}

// prunable are the entries of a store that are idle for too long, and then those that are over a bound.
func (rm *remover) prunable(ctx context.Context, s *store, by whose) ([]going, error) {
	if err := rm.stock.observeClones(ctx, s); err != nil {
		return nil, err
	}
	entries, err := rm.catalog.List(ctx, catalog.Filter{Store: s.id(), States: []catalog.State{catalog.Filling, catalog.Ready, catalog.Evicting, catalog.Detached}})
	if err != nil {
		return nil, err
	}
	capacity, err := s.capacity(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]catalog.Entry, len(entries))
	for _, e := range entries {
		byID[string(e.ID)] = e
	}
	now, l, limit := rm.catalogTime(), load(entries, capacity), s.limit()
	var all []going
	for _, a := range limit.ages(by) {
		for _, id := range lru.Aged(now, l, a.most) {
			e, more := byID[id]
			if !more || a.young(now, e) {
				continue
			}
			all = append(all, going{entry: e, why: idleFor(now, e, a)})
			delete(byID, id)
		}
	}
	for _, v := range lru.Overflow(now, l, limit.bounds) {
		if e, more := byID[v.ID]; more {
			all = append(all, going{entry: e, detached: v.InUse, why: overBound(v.Cause, limit.bounds)})
		}
	}
	return all, nil
}

func idleFor(now time.Time, e catalog.Entry, a age) string {
	used := e.LastUsedAt
	if used.IsZero() {
		used = e.CreatedAt
	}
	return fmt.Sprintf("not used for %s; %s is %s", now.Sub(used).Round(time.Second), a.key, a.most)
}

func overBound(cause lru.Cause, b lru.Bounds) string {
	switch cause {
	case lru.CauseSize:
		return fmt.Sprintf("over max_size, which is %d bytes", b.MaxBytes)
	case lru.CauseCount:
		return fmt.Sprintf("over max_count, which is %d", b.MaxCount)
	case lru.CausePercent:
		return fmt.Sprintf("over max_percent, which is %d %%", b.MaxPercent)
	}
	return "over the bound of its " + string(cause)
}

// Deletion says which entries are to go at once.
type Deletion struct {
	Backend    backends.Name // "": of all
	Superseded bool          // only those whose image has other content by now, or is gone
	Force      ForceDetach
}

// PlanDeletion tells what DeleteAllEntries or DeleteSupersededEntries would remove now, and what it would leave and
// why. It removes nothing.
func (p *Plugin) PlanDeletion(ctx context.Context, d Deletion) (PruneResult, error) {
	return p.remover.planDeletions(ctx, d)
}

// planDeletions is PlanDeletion.
func (rm *remover) planDeletions(ctx context.Context, d Deletion) (PruneResult, error) {
	r := PruneResult{Removed: []EntryView{}, Planned: []PlannedRemoval{}, Unavailable: []UnavailableView{}}
	if err := rm.books.flushToRead(ctx); err != nil {
		return r, err
	}
	entries, err := rm.entriesToDelete(ctx, d.Backend)
	if err != nil {
		return r, err
	}
	clones, removable := rm.listedClones(), rm.allRemovable()
	for _, e := range entries {
		if d.Superseded && e.SupersededAt.IsZero() {
			continue
		}
		planned, err := rm.planDeletion(ctx, e, d.Force, clones)
		if gone := removable(ctx, e); gone != nil {
			planned.Goes, planned.Detached, planned.Why, err = false, false, "its backend does not answer", gone
		}
		if s := rm.stock.storeOf(e.Store); s != nil && rm.stock.leaveOut(&r.Unavailable, s, err) {
			err = nil
		}
		if err != nil {
			return r, err
		}
		r.Planned = append(r.Planned, planned)
	}
	return r, nil
}

// whyDeleted says what is the matter with a ready entry that is to go.
func whyDeleted(e catalog.Entry) string {
	switch {
	case e.SupersededAt.IsZero():
		return "it is ready"
	case e.SupersededBy == "":
		return "its image is gone from the source, or beyond keep of what is followed"
	}
	return "its image has other content by now"
}

func (rm *remover) planDeletion(ctx context.Context, e catalog.Entry, force ForceDetach, clones cloneCount) (PlannedRemoval, error) {
	planned := PlannedRemoval{Entry: rm.stock.entryView(e), Goes: true, Why: whyDeleted(e)}
	switch err := rm.deletable(ctx, e, force, clones); {
	case errors.Is(err, catalog.ErrPinned):
		planned.Goes, planned.Why = false, "it is pinned"
		return planned, nil
	case errors.Is(err, ErrHasClones):
		planned.Goes, planned.Why = false, "it has live clones, and force is not given"
		return planned, nil
	case errors.Is(err, backends.ErrUnavailable):
		planned.Goes, planned.Why = false, "its backend does not answer"
		return planned, err
	case err != nil:
		return planned, err
	}
	if e.State == catalog.Failed {
		planned.Why = "its fill failed"
		return planned, nil
	}
	s := rm.stock.storeOf(e.Store)
	if s == nil {
		planned.Why = "its backend is not configured; the image-volume stays there"
		return planned, nil
	}
	if n, err := clones(ctx, s, e); err != nil {
		planned.Goes, planned.Why = false, "its backend does not answer"
		return planned, err
	} else if n > 0 {
		planned.Detached, planned.Why = true, "force is given: its space comes free with the last of its live clones"
	}
	return planned, nil
}

// deletable tells why an admin's deletion would refuse an entry: ErrUnknownBackend, ErrBusy, catalog.ErrPinned,
// ErrHasClones.
func (rm *remover) deletable(ctx context.Context, e catalog.Entry, force ForceDetach, clones cloneCount) error {
	s := rm.stock.storeOf(e.Store)
	if s == nil {
		return cmp.Or(rm.stock.nobodys(ctx, e), unconfiguredDeletable(e, force))
	}
	switch e.State {
	case catalog.Failed:
		return nil
	case catalog.Filling, catalog.Evicting:
		return fmt.Errorf("%w: it is %s; try again when it is ready", ErrBusy, e.State)
	case catalog.Detached:
		return fmt.Errorf("%w: it is detached already, since %s; it goes by itself", ErrBusy, whyDetached(e.Clones))
	case catalog.Ready:
	}
	if e.Pinned {
		return catalog.ErrPinned
	}
	if force {
		return nil
	}
	n, err := clones(ctx, s, e)
	if err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%w: %d; use --force to detach it", ErrHasClones, n)
	}
	return nil
}
