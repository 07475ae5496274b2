package plugin

import (
	"context"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// DeleteEntry evicts an entry now; its volumes stay. One with live clones is detached only with force.
// catalog.ErrNotFound, catalog.ErrPinned, ErrHasClones, ErrBusy (it is being filled or evicted).
func (p *Plugin) DeleteEntry(ctx context.Context, id string, force ForceDetach) (PruneResult, error) {
	return p.remover.delete(ctx, id, force)
}

// delete is DeleteEntry.
func (rm *remover) delete(ctx context.Context, id string, force ForceDetach) (PruneResult, error) {
	e, err := rm.stock.entry(ctx, id)
	if err != nil {
		return PruneResult{}, err
	}
	r := PruneResult{Removed: []EntryView{}, Unavailable: []UnavailableView{}}
	if err := rm.removable(ctx, e); err != nil {
		return r, err
	}
	defer rm.books.writeNow(ctx)
	return r, rm.deleteEntry(ctx, e, force, rm.liveClones, &r)
}

// DeleteAllEntries evicts every ready or failed entry of a backend or file cache, or of all (""). Pinned
// ones stay, and so do those with live clones, unless with force. Where all stores are meant, those of one that does
// not answer stay too, and it is in Unavailable.
func (p *Plugin) DeleteAllEntries(ctx context.Context, backend backends.Name, force ForceDetach) (PruneResult, error) {
	return p.remover.deleteEntries(ctx, backend, force, func(catalog.Entry) bool { return true })
}

// deleteEntries evicts those of the ready and the failed entries that are wanted gone.
func (rm *remover) deleteEntries(ctx context.Context, backend backends.Name, force ForceDetach, wanted func(catalog.Entry) bool) (PruneResult, error) {
	r := PruneResult{Removed: []EntryView{}, Unavailable: []UnavailableView{}}
	if err := rm.books.flushToRead(ctx); err != nil { // what was used a moment ago is not superseded
		return r, err
	}
	entries, err := rm.entriesToDelete(ctx, backend)
	if err != nil {
		return r, err
	}
	defer rm.books.writeNow(ctx)
	clones, removable := rm.listedClones(), rm.allRemovable()
	for _, e := range entries {
		if !wanted(e) {
			continue
		}
		err := removable(ctx, e)
		if err == nil {
			err = rm.deleteEntry(ctx, e, force, clones, &r)
		}
		if s := rm.stock.storeOf(e.Store); passedOver(err) || backend == "" && s != nil && rm.stock.leaveOut(&r.Unavailable, s, err) {
			continue
		}
		return r, err
	}
	return r, nil
}

// DeleteSupersededEntries evicts the superseded entries of a backend or file cache, or of all (""): those that no
// image will be asked for by. Pinned ones stay, and so do those with live clones, unless with force.
func (p *Plugin) DeleteSupersededEntries(ctx context.Context, backend backends.Name, force ForceDetach) (PruneResult, error) {
	return p.remover.deleteEntries(ctx, backend, force, func(e catalog.Entry) bool { return !e.SupersededAt.IsZero() })
}

// entriesToDelete are the ready and failed entries of a store, or of all that are configured (""). Of one that
// is not configured, which only its name or ID means, they are those in every state. ErrUnknownBackend.
func (rm *remover) entriesToDelete(ctx context.Context, name backends.Name) ([]catalog.Entry, error) {
	f := catalog.Filter{States: []catalog.State{catalog.Ready, catalog.Failed}}
	if name == "" {
		all, err := rm.catalog.List(ctx, f)
		return slices.DeleteFunc(all, func(e catalog.Entry) bool { return rm.stock.storeOf(e.Store) == nil }), err
	}
	id, err := rm.stock.storeID(ctx, name)
	if err != nil {
		return nil, err
	}
	if f.Store = id; rm.stock.storeOf(id) == nil {
		f.States = nil
	}
	return rm.catalog.List(ctx, f)
}

// cloneCount tells how many live clones depend on an entry's image-volume.
type cloneCount func(ctx context.Context, s *store, e catalog.Entry) (int, error)

func (rm *remover) deleteEntry(ctx context.Context, e catalog.Entry, force ForceDetach, clones cloneCount, r *PruneResult) error {
	s := rm.stock.storeOf(e.Store)
	if s == nil {
		return rm.deleteUnconfigured(ctx, e, force, r)
	}
	if err := rm.deletable(ctx, e, force, clones); err != nil {
		return err
	}
	if e.State == catalog.Failed {
		if err := rm.catalog.Remove(ctx, e.ID); err != nil {
			return err
		}
		rm.books.noteEntry(EventDeleted, e, catalog.Event{Reason: "failed", Detail: e.LastError})
		r.Removed = append(r.Removed, rm.stock.entryView(e))
		return nil
	}
	return rm.evictInto(ctx, s, e, catalog.CauseAdmin, r)
}

// liveClones asks the backend where clones depend on their image-volume.
func (rm *remover) liveClones(ctx context.Context, s *store, e catalog.Entry) (int, error) {
	if s.images.Info().IndependentClones || s.backend == nil {
		return 0, nil
	}
	iv, err := findImageVolume(ctx, s, e.ImageVolume)
	return iv.Clones, err
}

// listedClones is liveClones for many entries: each store is listed once.
func (rm *remover) listedClones() cloneCount {
	held := make(map[backends.Name]listing)
	return func(ctx context.Context, s *store, e catalog.Entry) (int, error) {
		if s.images.Info().IndependentClones || s.backend == nil {
			return 0, nil
		}
		all, listed := held[s.name]
		if !listed {
			var err error
			if all, err = listStore(ctx, s); err != nil {
				return 0, err
			}
			held[s.name] = all
		}
		return all.read[e.ImageVolume].Clones, all.unread[e.ImageVolume]
	}
}

// evictInto evicts and adds what came of it to r.
func (rm *remover) evictInto(ctx context.Context, s *store, e catalog.Entry, cause catalog.EvictCause, r *PruneResult) error {
	evicted, err := rm.stock.evict(ctx, s, e.ID, cause)
	if err != nil {
		return err
	}
	r.Removed = append(r.Removed, rm.stock.entryView(e))
	left, err := rm.catalog.Get(ctx, evicted.ID)
	if err == nil && left.State == catalog.Detached {
		r.Detached++
		if left.Clones == 0 {
			r.DetachedOpen++
		}
		return nil
	}
	r.FreedBytes += e.HeldBytes
	return nil
}
