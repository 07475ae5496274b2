package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// A fill charges the internal tenant's quota before it downloads. Where the tenant's own service makes the
// volume that becomes the image-volume, that service may work for the very requests that wait for the
// fill, with a bounded number of workers: so it is asked as soon as the image's size is known, before the
// fill waits for anything that another request could hold.

// adopts tells whether image-volumes here may be volumes that the tenant's service has made.
func (s *store) adopts() bool {
	a, ok := backends.Capability[backends.Adopter](s.images)
	return ok && s.charged() && a.CanAdopt()
}

// adopting tells whether image-volumes of s are volumes that the tenant's service makes.
func (k *stock) adopting(s *store) bool {
	maker, ok := k.owner.(internaltenant.VolumeMaker)
	return ok && s.adopts() && maker.MakesVolumes(string(s.name))
}

// claimsAhead tells whether a fill makes room and asks for its claim before it waits for its turn.
func (fl *fills) claimsAhead(s *store, f *flight, want *wanted) bool {
	expected, largest := want.expectedBytes(), fl.flights.largestVolume(f)
	return fl.stock.adopting(s) && expected > 0 && (largest == 0 || expected <= largest)
}

// foretold is what a fill knows of its image before it has read it.
type foretold struct {
	virtual int64 // bytes of the disk
	source  int64 // bytes of the image; -1 unknown
	data    int64 // of these, that lie in no hole; -1 unknown
	format  string
}

// unsure tells whether nobody knows how much of the disk is data.
func (t foretold) unsure() bool { return t.format == string(diskimage.Raw) && t.data < 0 }

// firstBytes is what a fill reserves before it has written anything: what its image is thought to need, as
// far as that is known. What is written decides.
func (w *filling) firstBytes(t foretold) int64 {
	first := t.virtual
	switch {
	case t.unsure():
		first = 0
	case t.data >= 0:
		first = min(t.virtual, t.data)
	case t.source >= 0:
		first = min(t.virtual, t.source)
	}
	return max(first, w.berth.atLeast())
}

// acquire makes room for a disk and charges the quota for it, in this order. Repeating it with the same
// size does nothing; with another one the claim is exchanged.
func (w *filling) acquire(ctx context.Context, t foretold) error {
	if first := w.firstBytes(t); first > w.berth.bytes || !w.berth.made {
		if err := w.berth.makeRoom(ctx, first, evicting); err != nil {
			return err
		}
		failpoint.Reached(failpoint.Room)
	}
	return w.berth.charge(ctx, t.virtual)
}

// stageIt stages the image-volume in what the claim has brought, or anew.
func (w *filling) stageIt(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	spec.Adopt = backends.VolumeName(w.berth.claim.Volume)
	var stage backends.ImageVolumeStage
	err := w.fl.stock.withSpace(ctx, w.store, spaceWanted{bytes: w.berth.bytes}, func() (err error) {
		stage, err = w.store.images.Stage(ctx, spec)
		return err
	})
	if spec.Adopt != "" && (errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrNotOurs)) {
		return nil, &stepAside{
			reason: ReasonMismatch, cause: err,
			detail: fmt.Sprintf("the internal tenant's volume %s is not an empty one on backend %s: %v; see that each backend has a volume type of its own", spec.Adopt, w.store.name, err),
		}
	}
	return stage, err
}

// renewClaim charges the quota for an image-volume that exists. errOwnerGone: its owner's service no longer
// has the volume, and would only make another one.
func (k *stock) renewClaim(ctx context.Context, s *store, c internaltenant.ClaimSpec, was internaltenant.ClaimID) (internaltenant.ClaimID, error) {
	if k.adopting(s) {
		return k.findClaim(ctx, c)
	}
	claim, err := k.owner.Claim(ctx, c)
	if err != nil {
		return "", err
	}
	if claim.Volume != "" && claim.ID != was {
		return "", errors.Join(errOwnerGone, k.owner.Release(ctx, claim.ID))
	}
	return claim.ID, k.owner.Settle(ctx, claim.ID)
}

// findClaim looks for the claim that was made for an image-volume. errOwnerGone: there is none.
func (k *stock) findClaim(ctx context.Context, c internaltenant.ClaimSpec) (internaltenant.ClaimID, error) {
	if f, ok := k.owner.(internaltenant.Finder); ok {
		known, err := f.Find(ctx, c)
		if errors.Is(err, internaltenant.ErrUnknownClaim) {
			return "", errOwnerGone
		}
		if err != nil {
			return "", err
		}
		return known.ID, k.owner.Settle(ctx, known.ID)
	}
	claims, err := k.owner.Claims(ctx)
	if err != nil {
		return "", err
	}
	for _, known := range claims {
		if known.EntryID == c.EntryID && known.Attempt == c.Attempt {
			return known.ID, k.owner.Settle(ctx, known.ID)
		}
	}
	return "", errOwnerGone
}

// errOwnerGone: the internal tenant's service no longer has the volume that the image-volume was made in.
var errOwnerGone = errors.New("the internal tenant no longer has the volume")
