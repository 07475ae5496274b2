package plugin

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// mender makes the catalog and the tenant's claims agree with what lies on the stores: it takes image-volumes into the
// catalog, removes those that no row needs, drops entries whose image-volumes are gone, and charges for what is not
// charged. It owns nothing. It removes nothing that a row names, and may be repeated after a crash at any point.
type mender struct {
	*house
	books *books
	stock *stock
}

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
func (m *mender) standingOf(ctx context.Context, s *store, iv backends.ImageVolume) (standing, error) {
	e, err := m.catalog.Get(ctx, iv.Description.EntryID)
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

// retireUnnamed removes an image-volume that no row names. What cannot go yet gets a detached row, with the claim that it has:
// this comes before what serves is adopted, and takes no quota from that. One that has none is charged by the next reconcile.
func (m *mender) retireUnnamed(ctx context.Context, s *store, iv backends.ImageVolume) error {
	is, err := m.standingOf(ctx, s, iv)
	if err != nil || is == named {
		return err
	}
	retired, err := s.images.Retire(ctx, iv.ID)
	if errors.Is(err, backends.ErrNotExist) || err == nil && retired.Gone {
		return nil
	}
	if err != nil {
		return err
	}
	iv.State, iv.Clones = backends.Detached, retired.Clones
	return m.adoptDetached(ctx, s, iv, m.claimFound)
}

// claimFound is the claim that was made for an image-volume, which is not charged for anew. errOwnerGone: there is none.
func (m *mender) claimFound(ctx context.Context, s *store, e catalog.Entry) (internaltenant.ClaimID, error) {
	claim, err := m.stock.findClaim(ctx, internaltenant.ClaimSpec{EntryID: e.ID, Attempt: e.Attempt})
	if errors.Is(err, errOwnerGone) && !m.stock.adopting(s) {
		m.stock.leftOut()
	}
	return claim, err
}

// dropMissing drops an entry whose image-volume is still not there.
func (m *mender) dropMissing(ctx context.Context, s *store, e catalog.Entry) error {
	now, err := m.catalog.Get(ctx, e.ID)
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
	return m.stock.forgetVanished(ctx, s, now)
}

// mendClaim charges the quota for an image-volume whose claim is missing. Where the claim was a volume of
// the owner's service, which is gone, the entry goes too: nobody owns what it names.
func (m *mender) mendClaim(ctx context.Context, s *store, e catalog.Entry) error {
	claim, err := m.claimAnew(ctx, s, e)
	gone := errors.Is(err, errOwnerGone)
	if err != nil && !gone {
		return err
	}
	err = m.catalog.SetClaim(ctx, e.ID, claim)
	if isGone(err) { // evicted meanwhile: nothing is left to charge for
		return m.releaseClaim(ctx, claim)
	}
	if err != nil || !gone || e.State != catalog.Ready {
		return err
	}
	return m.stock.forgetVanished(ctx, s, e)
}

// releaseClaim releases a claim if there is one.
func (m *mender) releaseClaim(ctx context.Context, id internaltenant.ClaimID) error {
	if id == "" {
		return nil
	}
	return m.owner.Release(ctx, id)
}

// claimAnew charges the quota for an image-volume that exists. errOwnerGone.
func (m *mender) claimAnew(ctx context.Context, s *store, e catalog.Entry) (internaltenant.ClaimID, error) {
	var image string
	if len(e.ImageIDs) > 0 {
		image = e.ImageIDs[0]
	}
	return m.stock.renewClaim(ctx, s, internaltenant.ClaimSpec{
		EntryID: e.ID, Attempt: e.Attempt, Backend: string(s.name), ImageID: image, VirtualBytes: e.VirtualBytes,
	}, e.Claim)
}
