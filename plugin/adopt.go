package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// What a survey found may be otherwise by the time that it is mended: a fill has ended, somebody else has
// mended it, another daemon has. So who mends looks at the row first, and nothing is removed that a row names.

// standing is what the catalog says, now, of an image-volume that no row was seen to name.
type standing int

const (
	// unnamed: there is no row of its entry.
	unnamed standing = iota + 1
	// named: a row names it, or is about to.
	named
	// superseded: its entry has another image-volume.
	superseded
	// elsewhere: its entry lies on another store, of which this one is a copy.
	elsewhere
)

// standingOf looks at the row of the entry that an image-volume says it is of.
func (rec *reconciler) standingOf(ctx context.Context, s *store, iv backends.ImageVolume) (standing, error) {
	e, err := rec.catalog.Get(ctx, catalog.EntryID(iv.Description.EntryID))
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		return unnamed, nil
	case err != nil:
		return 0, err
	case e.Store != s.id():
		return elsewhere, nil
	case e.ImageVolume == iv.ID, e.State == catalog.Filling && e.Attempt <= iv.Description.Attempt:
		return named, nil
	case e.State == catalog.Failed: // it names nothing, and gives way
		return unnamed, nil
	}
	return superseded, nil
}

// retireUnnamed removes an image-volume that no row names.
func (rec *reconciler) retireUnnamed(ctx context.Context, s *store, iv backends.ImageVolume) error {
	is, err := rec.standingOf(ctx, s, iv)
	if err != nil || is == named {
		return err
	}
	_, err = s.images.Retire(ctx, iv.ID)
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}

// dropMissing drops an entry whose image-volume is still not there.
func (rec *reconciler) dropMissing(ctx context.Context, s *store, e catalog.Entry) error {
	now, err := rec.catalog.Get(ctx, e.ID)
	if errors.Is(err, catalog.ErrNotFound) || err == nil && (now.State != catalog.Ready || now.ImageVolume != e.ImageVolume) {
		return nil
	}
	if err != nil {
		return err
	}
	iv, err := findImageVolume(ctx, s, e.ImageVolume)
	if err != nil || iv.State == backends.Committed {
		return err
	}
	return rec.stock.forgetVanished(ctx, s, now)
}

// adopt takes a committed image-volume into the catalog, from what it says of itself, and charges the
// quota for it. Where another entry serves its content, or the quota does not allow it, it goes. What
// cannot go, since clones live, is adopted as detached, so that it is counted until the last of them is
// gone; where the quota does not allow that, its row has no claim until it does. One that is in the catalog
// by now stays as it is there.
func (rec *reconciler) adopt(ctx context.Context, s *store, iv backends.ImageVolume) error {
	if iv.State == backends.Detached {
		return rec.adoptDetached(ctx, s, iv)
	}
	is, err := rec.standingOf(ctx, s, iv)
	switch {
	case err != nil || is == named:
		return err
	case is == superseded:
		return rec.retireOrDetach(ctx, s, iv)
	}
	e := entryOf(s, iv)
	if is == elsewhere {
		e.ID = catalog.NewEntryID()
	}
	if s.charged() {
		claim, err := rec.claimAnew(ctx, s, e)
		if errors.Is(err, internaltenant.ErrOverQuota) || errors.Is(err, errOwnerGone) {
			return rec.retireOrDetach(ctx, s, iv)
		}
		if err != nil {
			return err
		}
		e.Claim = claim
	}
	proven := provenBy(iv.Description)
	defer s.ready.begin()()
	err = rec.catalog.Adopt(ctx, e, proven...)
	if errors.Is(err, catalog.ErrLost) {
		return rec.adoptLost(ctx, s, iv, e)
	}
	if err != nil {
		return err
	}
	s.ready.add(e, proven...)
	rec.books.noteEntry(EventAdopted, e, catalog.Event{Bytes: e.HeldBytes})
	return nil
}

// adoptLost finds out why a row could not be added. That its ID is taken says nothing of its content: the
// row may be its own. It goes only where another entry, whose image-volume is there, serves the same.
func (rec *reconciler) adoptLost(ctx context.Context, s *store, iv backends.ImageVolume, e catalog.Entry) error {
	is, err := rec.standingOf(ctx, s, iv)
	if err != nil || is == named {
		return err // the claim is that row's
	}
	if is != superseded {
		other, err := rec.catalog.Find(ctx, e.Store, e.Domain, e.Key)
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		if other.ImageVolume == iv.ID {
			return nil
		}
		held, err := findImageVolume(ctx, s, other.ImageVolume)
		if err != nil {
			return err
		}
		if other.State != catalog.Ready || held.State != backends.Committed {
			return fmt.Errorf("image-volume %s stays: entry %s of the same content is not ready: %w", iv.ID, other.ID, ErrBusy)
		}
	}
	return errors.Join(rec.releaseClaim(ctx, e.Claim), rec.retireOrDetach(ctx, s, iv))
}

// retireOrDetach retires an image-volume that cannot be an entry, and adopts what is left of it.
func (rec *reconciler) retireOrDetach(ctx context.Context, s *store, iv backends.ImageVolume) error {
	retired, err := s.images.Retire(ctx, iv.ID)
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if retired.Gone {
		rec.books.noteEntry(EventMended, entryOf(s, iv), catalog.Event{Reason: "unknown-image-volume", Detail: fmt.Sprintf("image-volume %s, which cannot be an entry, was removed", iv.ID)})
		return nil
	}
	iv.State, iv.Clones = backends.Detached, retired.Clones
	return rec.adoptDetached(ctx, s, iv)
}

// adoptDetached adds a detached row, under a new ID where the image-volume's entry goes on with another one.
func (rec *reconciler) adoptDetached(ctx context.Context, s *store, iv backends.ImageVolume) error {
	is, err := rec.standingOf(ctx, s, iv)
	if err != nil || is == named {
		return err
	}
	e := entryOf(s, iv)
	e.State, e.EvictCause = catalog.Detached, catalog.CauseGone
	if is == elsewhere {
		e.ID = catalog.NewEntryID()
	}
	if s.charged() {
		claim, err := rec.claimAnew(ctx, s, e)
		if err != nil && !errors.Is(err, internaltenant.ErrOverQuota) && !errors.Is(err, errOwnerGone) {
			return err
		}
		e.Claim = claim
	}
	if is == superseded {
		e.ID = catalog.NewEntryID()
	}
	if err := rec.catalog.Adopt(ctx, e); err != nil {
		return err
	}
	rec.books.noteEntry(EventAdopted, e, catalog.Event{Bytes: e.HeldBytes, Detail: fmt.Sprintf("image-volume %s, detached: clones depend on it", e.ImageVolume)})
	return nil
}

// entryOf is the entry that an image-volume says it is.
func entryOf(s *store, iv backends.ImageVolume) catalog.Entry {
	d := iv.Description
	return catalog.Entry{
		ID: catalog.EntryID(d.EntryID), Store: s.id(), Key: catalog.Key(d.ContentKey), Domain: d.Domain, Attempt: d.Attempt,
		ImageVolume: iv.ID, Form: d.Form, ImageIDs: d.ImageIDs, Digest: d.Digest, DiskFormat: d.DiskFormat, ContentSum: d.ContentSum,
		Claim: internaltenant.ClaimID(d.ClaimID), SourceBytes: d.SourceBytes, VirtualBytes: iv.VirtualBytes, HeldBytes: iv.HeldBytes, Clones: iv.Clones,
		InspectorVersion: d.InspectorVersion, CreatedAt: d.CreatedAt, FilledAt: d.CreatedAt, LastUsedAt: d.CreatedAt,
	}
}

// releaseClaim releases a claim if there is one.
func (rec *reconciler) releaseClaim(ctx context.Context, id internaltenant.ClaimID) error {
	if id == "" {
		return nil
	}
	return rec.owner.Release(ctx, id)
}

// claimAnew charges the quota for an image-volume that exists. errOwnerGone.
func (rec *reconciler) claimAnew(ctx context.Context, s *store, e catalog.Entry) (internaltenant.ClaimID, error) {
	var image string
	if len(e.ImageIDs) > 0 {
		image = e.ImageIDs[0]
	}
	return rec.stock.renewClaim(ctx, s, internaltenant.ClaimSpec{
		EntryID: string(e.ID), Attempt: e.Attempt, Backend: string(s.name), ImageID: image, VirtualBytes: e.VirtualBytes,
	}, e.Claim)
}
