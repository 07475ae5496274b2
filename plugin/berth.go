package plugin

import (
	"context"
	"fmt"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// berth is what a fill has of a store until its image-volume is ready: the bytes that are reserved for it, and its claim
// on the internal tenant's quota. A fill takes both before it stages anything, and gives the claim back if it comes to
// nothing; the room goes with the row.
type berth struct {
	k     *stock
	store *store
	entry catalog.Entry // the row, at the fill's attempt
	key   catalog.Key
	image string // SOURCE:ID, for whom others go

	bytes int64                // reserved
	made  bool                 // room was made, and be it for nothing: the fill counts as an entry
	claim internaltenant.Claim // zero: none
}

// berth is a fill's in s, with nothing reserved.
func (k *stock) berth(s *store, e catalog.Entry, want *wanted) *berth {
	return &berth{k: k, store: s, entry: e, key: want.key, image: want.image.Ref()}
}

// atLeast is how many bytes the image is known to need, from an earlier fill that had no room.
func (b *berth) atLeast() int64 { return b.store.outsized.needs(b.key) }

// outgrown notes that the image needs more than the store may hold.
func (b *berth) outgrown(bytes int64) { b.store.outsized.note(b.key, bytes) }

// charge charges the internal tenant's quota, where image-volumes of this store count.
func (b *berth) charge(ctx context.Context, virtual int64) error {
	if !b.store.charged() || b.claim.ID != "" && b.claim.Gigabytes == internaltenant.Gigabytes(virtual) {
		return nil
	}
	if b.claim.ID != "" { // what was told of the image was wrong
		if err := b.k.owner.Release(ctx, b.claim.ID); err != nil {
			return err
		}
		b.claim = internaltenant.Claim{}
	}
	claim, err := b.k.chargeQuota(ctx, b.store, internaltenant.ClaimSpec{
		EntryID: b.entry.ID, Attempt: b.entry.Attempt, Backend: string(b.store.name),
		ImageID: b.image, VirtualBytes: virtual,
	})
	if err != nil {
		return err
	}
	b.claim = claim
	failpoint.Reached(failpoint.Claim)
	if claim.Volume != "" && !b.store.adopts() {
		return &stepAside{reason: ReasonMismatch, detail: fmt.Sprintf("the internal tenant made volume %s for this, and backend %s cannot take volumes over; configure image_volumes = \"outside\"", claim.Volume, b.store.name)}
	}
	return b.k.catalog.RecordClaim(ctx, b.entry.ID, b.entry.Attempt, claim.ID)
}

// settle turns the reserved claim into one in use.
func (b *berth) settle(ctx context.Context) error {
	if b.claim.ID == "" {
		return nil
	}
	err := b.k.owner.Settle(ctx, b.claim.ID)
	failpoint.Reached(failpoint.Settle)
	return err
}

// release gives the claim back, if there is one.
func (b *berth) release(ctx context.Context) error {
	if b.claim.ID == "" {
		return nil
	}
	return b.k.owner.Release(ctx, b.claim.ID)
}
