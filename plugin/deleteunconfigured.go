package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// deleteUnconfigured removes the row of an entry whose store is not configured, and its claim where that is
// only a line in a book: a volume of the tenant's service stays with the image-volume in it. catalog.ErrPinned,
// ErrHasClones, ErrElsewhere.
func (rm *remover) deleteUnconfigured(ctx context.Context, e catalog.Entry, force ForceDetach, r *PruneResult) error {
	if err := rm.stock.nobodys(ctx, e); err != nil {
		return err
	}
	if err := unconfiguredDeletable(e, force); err != nil {
		return err
	}
	view := rm.stock.entryView(e)
	if err := rm.forgetRow(ctx, e); err != nil {
		return err
	}
	r.Removed = append(r.Removed, view)
	detail := "its store is not configured"
	if e.ImageVolume != "" {
		r.Left = append(r.Left, LeftBehind{Backend: view.Backend, StoreID: e.Store, ImageVolume: e.ImageVolume})
		detail = fmt.Sprintf("image-volume %s stays on %s, which is not configured", e.ImageVolume, view.Backend)
	}
	rm.books.noteEntry(EventDeleted, e, catalog.Event{Detail: detail})
	return nil
}

func unconfiguredDeletable(e catalog.Entry, force ForceDetach) error {
	switch {
	case e.State == catalog.Ready && e.Pinned:
		return catalog.ErrPinned
	case e.State == catalog.Ready && e.Clones > 0 && !bool(force):
		return fmt.Errorf("%w: %d, when it was last seen; use --force to forget it all the same", ErrHasClones, e.Clones)
	}
	return nil
}

// forgetRow ends a row of whatever state.
func (rm *remover) forgetRow(ctx context.Context, e catalog.Entry) error {
	if e.State == catalog.Ready {
		if _, err := rm.catalog.BeginEvict(ctx, e.ID, catalog.CauseAdmin); err != nil {
			return err
		}
	}
	if err := rm.releaseBooked(ctx, e.Claim); err != nil {
		return err
	}
	if e.State == catalog.Filling {
		return rm.catalog.ForgetFill(ctx, e.ID, e.Attempt)
	}
	return rm.catalog.Remove(ctx, e.ID)
}

// releaseBooked releases a claim unless it is a volume of the tenant's service, or may be one.
func (rm *remover) releaseBooked(ctx context.Context, id internaltenant.ClaimID) error {
	if id == "" {
		return nil
	}
	claims, err := rm.owner.Claims(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(claims, func(c internaltenant.Claim) bool { return c.ID == id })
	if i < 0 || claims[i].Volume != "" {
		return nil
	}
	return rm.owner.Release(ctx, id)
}

// passedOver tells whether deleting all entries goes on after an error of one.
func passedOver(err error) bool {
	return err == nil || errors.Is(err, catalog.ErrPinned) || errors.Is(err, ErrHasClones) || errors.Is(err, ErrElsewhere) || isGone(err)
}
