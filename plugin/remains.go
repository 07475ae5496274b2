package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// retireAttempt removes the image-volume of an attempt whose row ends, or names another one. What its store cannot free yet,
// since a client that a dead host left has it open or clones live, goes on as a detached entry with the attempt's claim: it is
// charged, and counted as far as the store tells what it holds, until the reap frees it, and nobody waits for that. kept tells so, and the claim is that
// entry's then. A process that dies in it leaves an image-volume that the row still names; repeated, it makes no second entry.
func (k *stock) retireAttempt(ctx context.Context, s *store, id backends.ImageVolumeID, claim internaltenant.ClaimID) (kept bool, err error) {
	retired, err := s.images.Retire(ctx, id)
	gone := errors.Is(err, backends.ErrNotExist) || err == nil && retired.Gone
	if err != nil && !gone {
		return false, err
	}
	if e, there, err := k.detachedOf(ctx, s, id); there || gone || err != nil {
		return there && e.Claim == claim, err
	}
	iv, err := findImageVolume(ctx, s, id)
	if err != nil || iv.ID == "" { // gone by now
		return false, err
	}
	e := entryOf(s, iv)
	e.ID, e.State = catalog.NewEntryID(), catalog.Detached // without a cause: it never was an entry that could be evicted
	e.Claim, e.Clones = claim, retired.Clones
	err = k.catalog.Adopt(ctx, e)
	if errors.Is(err, catalog.ErrLost) { // another host has, in this moment
		e, there, err := k.detachedOf(ctx, s, id)
		return there && e.Claim == claim, err
	}
	if err != nil {
		return false, err
	}
	k.books.noteEntry(EventDetached, e, catalog.Event{Bytes: e.HeldBytes, Detail: fmt.Sprintf("image-volume %s, of a fill that came to nothing: %s", id, whyDetached(e.Clones))})
	return true, nil
}

// detachedOf is the detached entry that names an image-volume, if there is one.
func (k *stock) detachedOf(ctx context.Context, s *store, id backends.ImageVolumeID) (e catalog.Entry, there bool, err error) {
	detached, err := k.catalog.List(ctx, catalog.Filter{Store: s.id(), States: []catalog.State{catalog.Detached}})
	i := slices.IndexFunc(detached, func(e catalog.Entry) bool { return e.ImageVolume == id })
	if err != nil || i < 0 {
		return catalog.Entry{}, false, err
	}
	return detached[i], true, nil
}
