package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// surveyClaims compares the internal tenant's claims with the rows: each image-volume on a charged
// store has its claim, each claim its image-volume (invariant I6). A claim of one of the entries that are to be adopted is
// looked at after that.
func (v *surveyor) surveyClaims(ctx context.Context, adopted map[EntryID]bool) ([]finding, error) {
	claims, unavailable := v.owner.Claims(ctx) // before the rows: a row is there before its claim
	rows, err := v.catalog.List(ctx, catalog.Filter{})
	if err != nil {
		return nil, err
	}
	findings := v.surveyUnconfigured(rows)
	if unavailable != nil {
		return append(findings, quotaUnavailable(unavailable)...), nil
	}
	charges := newCharges(claims)
	for _, e := range rows {
		if f := v.surveyCharge(e, charges); f != nil {
			findings = append(findings, *f)
		}
	}
	before, after := &heldByCharged{surveyor: v}, &heldByCharged{surveyor: v}
	for _, c := range claims {
		switch {
		case !charges.unknown(c):
		case adopted[c.EntryID]:
			findings = append(findings, v.unknownClaim(c, after))
		default:
			f := v.unknownClaim(c, before)
			f.frees = true
			findings = append(findings, f)
		}
	}
	return findings, nil
}

// charges are the claims, and what was seen of the rows that they are for.
type charges struct {
	claims  map[internaltenant.ClaimID]internaltenant.Claim
	needed  map[internaltenant.ClaimID]bool
	known   map[EntryID]bool // it has a row
	alive   map[EntryID]bool // the row may name an image-volume
	filling map[EntryID]bool // its row may not have learnt of its claim yet: either may be ahead of the other
}

func newCharges(claims []internaltenant.Claim) charges {
	byID := make(map[internaltenant.ClaimID]internaltenant.Claim, len(claims))
	for _, c := range claims {
		byID[c.ID] = c
	}
	return charges{claims: byID, needed: make(map[internaltenant.ClaimID]bool), known: make(map[EntryID]bool), alive: make(map[EntryID]bool), filling: make(map[EntryID]bool)}
}

// unknown tells that no row needs a claim, once all rows were seen.
func (c charges) unknown(claim internaltenant.Claim) bool {
	if claim.Unsure && !c.known[claim.EntryID] {
		return false // another installation's, or an image-volume's that finds its claim itself
	}
	if claim.Generation > 1 && c.alive[claim.EntryID] {
		return false // it goes with the entry
	}
	return !c.needed[claim.ID] && !c.filling[claim.EntryID]
}

// surveyCharge compares one row with the claims, and keeps in mind what it needs.
func (v *surveyor) surveyCharge(e catalog.Entry, c charges) *finding {
	c.known[e.ID] = true
	if e.State == catalog.Failed {
		return nil
	}
	c.alive[e.ID] = true
	s := v.stock.storeOf(e.Store)
	if s == nil { // it is charged, wherever it lies
		c.needed[e.Claim] = true
		return nil
	}
	if !s.charged() {
		return nil
	}
	if e.State == catalog.Filling { // its claim may be that of what cannot be freed of an attempt of it, by now
		c.filling[e.ID] = true
		return nil
	}
	f := v.surveyClaim(s, e, c.claims)
	if f == nil && e.Claim != "" && c.needed[e.Claim] {
		f = v.missingClaim(s, e, fmt.Sprintf("claim %s of image-volume %s is another entry's too", e.Claim, e.ImageVolume))
	}
	c.needed[e.Claim] = true
	return f
}

// quotaDown is the kind of problem that keeps claims from being compared.
const quotaDown = "quota-unavailable"

func quotaUnavailable(err error) []finding {
	return []finding{{Problem: Problem{
		Kind: quotaDown, Detail: err.Error(), Remedy: "make the internal tenant's quota reachable and run the check again",
	}}}
}

// surveyClaim compares one row, which is not filling, with its claim.
func (v *surveyor) surveyClaim(s *store, e catalog.Entry, claims map[internaltenant.ClaimID]internaltenant.Claim) *finding {
	c, charged := claims[e.Claim]
	switch {
	case e.State == catalog.Detached && e.Claim == "" && v.stock.adopting(s):
		return nil // its owner's service has let go of it
	case !charged:
		return v.missingClaim(s, e, fmt.Sprintf("image-volume %s is not charged to the internal tenant", e.ImageVolume))
	case c.Gigabytes != internaltenant.Gigabytes(e.VirtualBytes) && e.State == catalog.Ready:
		return &finding{Problem: Problem{
			Kind: "wrong-claim", Backend: s.name, ID: string(c.ID),
			Detail: fmt.Sprintf("image-volume %s is charged as %d GiB, and has %d", e.ImageVolume, c.Gigabytes, internaltenant.Gigabytes(e.VirtualBytes)),
			Remedy: "delete the entry; the next request caches the image anew and charges what it has",
		}}
	case !c.InUse && e.State == catalog.Ready:
		return &finding{Problem: Problem{
			Kind: "wrong-claim", Backend: s.name, ID: string(c.ID),
			Detail: fmt.Sprintf("claim of image-volume %s is still reserved", e.ImageVolume), Remedy: "check --repair settles it",
		}, fix: func(ctx context.Context) error { return v.owner.Settle(ctx, c.ID) }}
	}
	return nil
}

func (v *surveyor) missingClaim(s *store, e catalog.Entry, detail string) *finding {
	return &finding{Problem: Problem{
		Kind: "missing-claim", Backend: s.name, ID: string(e.ID), Detail: detail,
		Remedy: "check --repair charges it, or drops the entry where the tenant's own volume is gone",
	}, fix: func(ctx context.Context) error { return v.mender.mendClaim(ctx, s, e) }}
}

// unknownClaim is a charge for nothing. Its fill may have begun after the rows were read, so the row is
// looked for once more; and a store may hold what no row names, because it could not be read, or taken
// into the catalog: then the claim stays.
func (v *surveyor) unknownClaim(c internaltenant.Claim, held *heldByCharged) finding {
	remedy, placed := "check --repair releases the claim", v.placed(c)
	if !placed {
		remedy = fmt.Sprintf("backend %s, for which it was made, is not configured: configure it again, or delete volume %s in Cinder if that backend is gone for good", c.Backend, c.ID)
	}
	return finding{Problem: Problem{
		Kind: "unknown-claim", ID: string(c.ID),
		Detail: fmt.Sprintf("%d GiB are charged for entry %s, which does not need them", c.Gigabytes, c.EntryID), Remedy: remedy,
	}, waits: !placed, fix: func(ctx context.Context) error {
		e, err := v.catalog.Get(ctx, c.EntryID)
		switch {
		case errors.Is(err, catalog.ErrNotFound):
			if err := held.free(ctx, c); err != nil {
				return err
			}
		case err != nil || e.State == catalog.Filling || e.Claim == c.ID:
			return err
		}
		return v.owner.Release(ctx, c.ID)
	}}
}

// placed tells whether the store that a claim was made for is configured, as far as its name then tells. What
// lies on one that is not cannot be looked at.
func (v *surveyor) placed(c internaltenant.Claim) bool {
	if c.Backend == "" {
		return true
	}
	return v.stock.isConfigured(v.stock.nowCalled(backends.Name(c.Backend)))
}

// heldByCharged are the image-volumes of all charged stores, listed when they are first asked for: after
// what could be mended of them was.
type heldByCharged struct {
	*surveyor
	listed bool
	err    error
	byID   map[EntryID]backends.ImageVolumeID // by entry ID
}

// free tells that no store holds, or may hold, an image-volume of the claim's entry; an error says why not.
func (h *heldByCharged) free(ctx context.Context, c internaltenant.Claim) error {
	if !h.placed(c) {
		return fmt.Errorf("claim %s stays: backend %s, for which it was made, is not configured", c.ID, c.Backend)
	}
	if !h.listed {
		h.err, h.listed = h.list(ctx), true
	}
	if h.err != nil {
		return fmt.Errorf("claim %s stays, since what it is for may be there: %w", c.ID, h.err)
	}
	if id, there := h.byID[c.EntryID]; there {
		return fmt.Errorf("claim %s stays: it is for image-volume %s, which is in no entry yet", c.ID, id)
	}
	return nil
}

func (h *heldByCharged) list(ctx context.Context) error {
	h.byID = make(map[EntryID]backends.ImageVolumeID)
	for _, s := range h.stock.orderedStores() {
		if !s.charged() {
			continue
		}
		all, err := listStore(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, err := range all.unread {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for id, iv := range all.read {
			h.byID[iv.Description.EntryID] = id
		}
	}
	return nil
}
