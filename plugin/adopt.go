package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// adopt takes a committed image-volume into the catalog, from what it says of itself, and charges the
// quota for it. Where another entry serves its content, or the quota does not allow it, it goes. What
// cannot go, since clones live, is adopted as detached, so that it is counted until the last of them is
// gone; where the quota does not allow that, its row has no claim until it does. One that is in the catalog
// by now stays as it is there. claims: what was charged for nothing was given back; where nobody has looked, that the
// quota does not allow it says nothing, and it stays until then: ErrBusy.
func (m *mender) adopt(ctx context.Context, s *store, iv backends.ImageVolume, claims bool) error {
	if iv.State == backends.Detached {
		return m.adoptDetached(ctx, s, iv, m.claimAnew)
	}
	is, err := m.standingOf(ctx, s, iv)
	switch {
	case err != nil || is == named:
		return err
	case is == superseded:
		return m.retireOrDetach(ctx, s, iv)
	}
	e := entryOf(s, iv)
	if is == elsewhere {
		e.ID = catalog.NewEntryID()
	}
	if s.charged() {
		claim, err := m.claimAnew(ctx, s, e)
		if errors.Is(err, internaltenant.ErrOverQuota) && !claims {
			return fmt.Errorf("image-volume %s stays until what is charged was compared: %w, %w", iv.ID, err, ErrBusy)
		}
		if errors.Is(err, internaltenant.ErrOverQuota) || errors.Is(err, errOwnerGone) {
			return m.retireOrDetach(ctx, s, iv)
		}
		if err != nil {
			return err
		}
		e.Claim = claim
	}
	proven := provenBy(iv.Description)
	defer s.changing()()
	why, damaged := m.stock.rememberedDamage(iv.ID)
	if damaged { // with the row, so that nobody sees it serve; beside what was cached in its place, which has the same content
		s.ready.ban(e.ID)
		e.Quarantine = cmp.Or(why, "it was found damaged")
	}
	err = m.catalog.Adopt(ctx, e, proven...)
	if errors.Is(err, catalog.ErrLost) {
		return m.adoptLost(ctx, s, iv, e)
	}
	if err != nil {
		return err
	}
	m.books.noteEntry(EventAdopted, e, catalog.Event{Bytes: e.HeldBytes})
	if damaged {
		m.stock.tellQuarantined(ctx, s, e)
		return nil
	}
	s.learn(e, proven...)
	return nil
}

// adoptLost finds out why a row could not be added. That its ID is taken says nothing of its content: the
// row may be its own. It goes only where another entry, whose image-volume is there, serves the same.
func (m *mender) adoptLost(ctx context.Context, s *store, iv backends.ImageVolume, e catalog.Entry) error {
	is, err := m.standingOf(ctx, s, iv)
	if err != nil || is == named {
		return err // the claim is that row's
	}
	if is != superseded {
		other, err := m.catalog.Find(ctx, e.Store, e.Domain, e.Key)
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
		if !other.Serves() || held.State != backends.Committed {
			return fmt.Errorf("image-volume %s stays: entry %s of the same content is not ready: %w", iv.ID, other.ID, ErrBusy)
		}
	}
	return errors.Join(m.releaseClaim(ctx, e.Claim), m.retireOrDetach(ctx, s, iv))
}

// retireOrDetach retires an image-volume that cannot be an entry, and adopts what is left of it.
func (m *mender) retireOrDetach(ctx context.Context, s *store, iv backends.ImageVolume) error {
	retired, err := s.images.Retire(ctx, iv.ID)
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if retired.Gone {
		m.books.noteEntry(EventMended, entryOf(s, iv), catalog.Event{Reason: "unknown-image-volume", Detail: fmt.Sprintf("image-volume %s, which cannot be an entry, was removed", iv.ID)})
		return nil
	}
	iv.State, iv.Clones = backends.Detached, retired.Clones
	return m.adoptDetached(ctx, s, iv, m.claimAnew)
}

// adoptDetached adds a detached row, under a new ID where the image-volume's entry goes on with another one. charge is how the
// quota is charged for it: where that is over quota or errOwnerGone, the row has no claim.
func (m *mender) adoptDetached(ctx context.Context, s *store, iv backends.ImageVolume, charge func(context.Context, *store, catalog.Entry) (internaltenant.ClaimID, error)) error {
	is, err := m.standingOf(ctx, s, iv)
	if err != nil || is == named {
		return err
	}
	e := entryOf(s, iv)
	if e.State = catalog.Detached; e.Digest != "" { // else it is of a fill that came to nothing
		e.EvictCause = catalog.CauseGone
	}
	if is == elsewhere {
		e.ID = catalog.NewEntryID()
	}
	if s.charged() {
		claim, err := charge(ctx, s, e)
		if err != nil && !errors.Is(err, internaltenant.ErrOverQuota) && !errors.Is(err, errOwnerGone) {
			return err
		}
		e.Claim = claim
	}
	if is == superseded {
		e.ID = catalog.NewEntryID()
	}
	err = m.catalog.Adopt(ctx, e)
	if errors.Is(err, catalog.ErrLost) {
		if _, there, err := m.stock.detachedOf(ctx, s, iv.ID); there || err != nil { // another host has, in this moment
			return err
		}
	}
	if err != nil {
		return err
	}
	m.books.noteEntry(EventAdopted, e, catalog.Event{Bytes: e.HeldBytes, Detail: fmt.Sprintf("image-volume %s, detached: %s", e.ImageVolume, whyDetached(e.Clones))})
	return nil
}

// whyDetached says why an image-volume that is retired is still there.
func whyDetached(clones int) string {
	if clones > 0 {
		return "clones depend on it"
	}
	return "a client has it open, or has died so lately that its cluster has not missed it"
}

// contentOf is what an image-volume says of its content; how large it is, the backend knows better.
func contentOf(iv backends.ImageVolume) backends.Content {
	c := iv.Description.Content
	c.VirtualBytes = iv.VirtualBytes
	return c
}

// entryOf is the entry that an image-volume says it is.
func entryOf(s *store, iv backends.ImageVolume) catalog.Entry {
	d := iv.Description
	return catalog.Entry{
		ID: d.EntryID, Store: s.id(), Key: d.ContentKey, Domain: d.Domain, Attempt: d.Attempt,
		ImageVolume: iv.ID, Form: d.Form, ImageIDs: d.ImageIDs, Content: contentOf(iv),
		Claim: d.ClaimID, HeldBytes: iv.HeldBytes, Clones: iv.Clones,
		CreatedAt: d.CreatedAt, FilledAt: d.CreatedAt, LastUsedAt: d.CreatedAt,
	}
}
