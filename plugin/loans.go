package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// returns tells those who wait for loans to end that one has, in this process.
type returns struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next one
}

// wait is closed when the next loan ends.
func (r *returns) wait() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = make(chan struct{})
	}
	return r.next
}

func (r *returns) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		close(r.next)
		r.next = nil
	}
}

// returned ends a loan. One that has ended already is left alone.
func (k *stock) returned(ctx context.Context, id LoanID, how backends.Return) error {
	l, err := k.catalog.EndLoan(ctx, id)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	failpoint.Reached(failpoint.Return)
	if l.LentTo == "" && how == backends.NotMade {
		how = backends.Made // it was only kept: the volume that it was lent for is there
	}
	if s := k.storeOf(l.Store); s != nil {
		if lender, lends := backends.Capability[backends.Lender](s.images); lends {
			lender.Returned(l.ImageVolume, l.Generation, how)
		}
	}
	k.returns.tell()
	return nil
}

const (
	// returnPatience is how long an eviction waits for loans before it leaves its entry to the next look.
	returnPatience = 10 * time.Second
	// lookForReturns is how often loans are looked at that may end on another host.
	lookForReturns = time.Second
)

// recalled is closed when an eviction begins to wait for what is lent.
func (k *stock) recalled() <-chan struct{} { return k.recalls.wait() }

// awaitReturns waits until an evicting entry is lent to nobody; from then on nobody is lent it. ErrBusy: it still is, and
// stays evicting until somebody looks again.
func (k *stock) awaitReturns(ctx context.Context, s *store, e catalog.Entry) error {
	if may, err := k.mayBeLent(ctx, s, e); err != nil || !may {
		return err
	}
	tick := time.NewTicker(lookForReturns)
	defer tick.Stop()
	patience := time.NewTimer(returnPatience)
	defer patience.Stop()
	k.recalls.tell()
	for {
		ended := k.returns.wait()
		n, err := k.catalog.LoansOf(ctx, e.ID)
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-ended:
		case <-tick.C:
		case <-patience.C:
			return fmt.Errorf("%w: entry %s is lent to %d volumes that are being made, and goes once they are", ErrBusy, e.ID, n)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *store) lends() bool {
	_, lends := backends.Capability[backends.Lender](s.images)
	return lends
}

// lies is where an image-volume that may be lent lies, and of how many volumes it consists, as far as that is known.
func (s *store) lies(id backends.ImageVolumeID) (at backends.Place, volumes int) {
	lender, lends := backends.Capability[backends.Lender](s.images)
	if !lends {
		return "", 0
	}
	all := lender.Generations(id)
	if len(all) > 0 {
		at = all[0].Place
	}
	return at, len(all)
}

// isLent tells whether an eviction would have to wait for a volume that is being made. What is only kept is given back.
func (k *stock) isLent(ctx context.Context, s *store, e catalog.Entry) bool {
	may, err := k.mayBeLent(ctx, s, e)
	if err != nil || !may {
		return false
	}
	n, err := k.catalog.LoansAtWork(ctx, e.ID)
	return err == nil && n > 0
}

// mayBeLent tells whether loans of an entry that goes matter. What has vanished is of no use to whom it is lent; but where the first
// of several generations has, the others are there, and may be what is lent.
func (k *stock) mayBeLent(ctx context.Context, s *store, e catalog.Entry) (bool, error) {
	if !s.lends() || e.EvictCause != catalog.CauseGone {
		return s.lends(), nil
	}
	left, err := findImageVolume(ctx, s, e.ImageVolume)
	return left.ID != "", err
}

// expireLoans removes the rows of loans whose time is over.
func (k *stock) expireLoans(ctx context.Context, s *store) error {
	if !s.lends() {
		return nil
	}
	n, err := k.catalog.ExpireLoans(ctx)
	if n > 0 {
		k.log.WithField("loans", n).Warn("loans have ended by themselves: nobody said what became of their volumes")
		k.returns.tell()
	}
	return err
}

// grown waits until an entry has a generation that takes clones, which is made once for all who want it. It goes on when they have
// left; Close waits for it. The caller is inside the plugin's gate.
func (k *stock) grown(ctx context.Context, s *store, lender backends.Lender, e catalog.Entry) error {
	done := k.growing.DoChan(string(e.ID), func() (any, error) { return nil, k.growInTurn(k.base, s, lender, e) })
	ended := make(chan error, 1)
	k.growths.Go(func() { ended <- (<-done).Err })
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitForGrowths returns when no generation is being made any more. Nobody is inside the gate by then.
func (k *stock) waitForGrowths() { k.growths.Wait() }

// growInTurn is grow, by one host at a time: each looks at what the others have made before it makes one. Two at once would
// have one claim, which either might release. Nobody waits for longer than a lease for a host that has died.
func (k *stock) growInTurn(ctx context.Context, s *store, lender backends.Lender, e catalog.Entry) error {
	turn := dutyWanted{duty: catalog.DutyGrow, store: s.id(), entry: e.ID}
	return k.awaitDuty(ctx, turn, func(ctx context.Context) error {
		err := k.grow(ctx, s, lender, e)
		if overtaken(ctx) {
			return nil // whoever waits looks anew
		}
		return err
	})
}

// overtaken tells that another host does by now what is done under a lease.
func overtaken(ctx context.Context) bool { return errors.Is(context.Cause(ctx), catalog.ErrLost) }

// grow makes another generation: room first, then the claim, whose volume the tenant's service fills. A crash leaves a
// claim that goes with the entry, and the entry counting what it was about to hold.
func (k *stock) grow(ctx context.Context, s *store, lender backends.Lender, e catalog.Entry) error {
	number, err := lender.Next(ctx, e.ImageVolume)
	if errors.Is(err, backends.ErrExist) {
		return nil
	}
	if errors.Is(err, backends.ErrNotExist) {
		return fmt.Errorf("%w: %w", errVanished, err)
	}
	if err != nil {
		return err
	}
	if e, err = k.catalog.Get(ctx, e.ID); err != nil {
		return err
	}
	held, volumes := e.HeldBytes, number-1
	if err := k.moreRoom(ctx, s, e, lru.Need{Bytes: held + chargedBytes(e.VirtualBytes), Count: number}); err != nil {
		return err
	}
	failpoint.Reached(failpoint.Room)
	iv, err := k.nextGeneration(ctx, s, lender, e, number)
	if err == nil {
		failpoint.Reached(failpoint.Grow)
		held, volumes = iv.HeldBytes, number
		k.log.WithFields(map[string]any{"backend": s.name, "image_volume": e.ImageVolume, "generation": number}).
			Info("image-volume has another generation: the ones before take no more clones")
	}
	if err != nil && overtaken(ctx) {
		return err // the room is the other host's
	}
	late, cancel := k.cleanup(ctx)
	defer cancel()
	if endErr := k.catalog.EndReserve(late, e.ID, held, volumes); endErr != nil && !isGone(endErr) {
		return errors.Join(err, endErr)
	}
	return err
}

// nextGeneration charges the quota for one more volume and makes it a generation.
func (k *stock) nextGeneration(ctx context.Context, s *store, lender backends.Lender, e catalog.Entry, number int) (backends.ImageVolume, error) {
	spec := internaltenant.ClaimSpec{EntryID: e.ID, Attempt: e.Attempt, Backend: string(s.name), VirtualBytes: e.VirtualBytes, Generation: number}
	if len(e.ImageIDs) > 0 {
		spec.ImageID = e.ImageIDs[0]
	}
	claim, err := k.chargeQuota(ctx, s, spec)
	if err != nil {
		return backends.ImageVolume{}, err
	}
	failpoint.Reached(failpoint.Claim)
	iv, err := lender.Grow(ctx, e.ImageVolume, backends.VolumeName(claim.Volume))
	switch {
	case err == nil: // its mark is written: an eviction that begins from now on finds it
		err = k.stillGrows(ctx, e)
	case errors.Is(err, backends.ErrNotExist): // an eviction has taken it, or the new volume alone has gone
		err = cmp.Or(k.stillGrows(ctx, e), fmt.Errorf("%w: generation %d has gone while it was made: %v", backends.ErrUnavailable, number, err)) //nolint:errorlint // what is not there is not the image-volume
	}
	switch {
	case err != nil && overtaken(ctx): // the claim too is the other host's
		return iv, err
	case err != nil:
		late, cancel := k.cleanup(ctx)
		defer cancel()
		return iv, errors.Join(err, k.owner.Release(late, claim.ID))
	}
	if err := k.owner.Settle(ctx, claim.ID); err != nil {
		k.log.WithField("claim", claim.ID).WithError(err).Warn("quota claim of a generation stays reserved")
	}
	return iv, nil
}

// stillGrows tells that the entry has not gone meanwhile: an eviction that looked before the new generation was marked would
// leave it. errVanished.
func (k *stock) stillGrows(ctx context.Context, e catalog.Entry) error {
	now, err := k.catalog.Get(ctx, e.ID)
	if isGone(err) || err == nil && (now.State != catalog.Ready || now.ImageVolume != e.ImageVolume) {
		return fmt.Errorf("%w: entry %s goes while it grows", errVanished, e.ID)
	}
	return err
}

// moreRoom lets a ready entry count what it is about to hold, and evicts who goes for that.
func (k *stock) moreRoom(ctx context.Context, s *store, e catalog.Entry, need lru.Need) error {
	leave, err := s.enterRoom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := k.books.flush(ctx); err != nil { // last-used decides
		return err
	}
	capacity, err := s.capacity(ctx)
	if err != nil {
		return err
	}
	victims, err := k.planMore(ctx, s, e, need, capacity)
	if err != nil {
		return err
	}
	for _, v := range victims {
		if err := k.finishEvictionFor(ctx, s, v, firstOf(e.ImageIDs)); err != nil {
			return fmt.Errorf("evict %s from %s: %w", v.ID, s.name, err)
		}
	}
	return nil
}

func (k *stock) planMore(ctx context.Context, s *store, e catalog.Entry, need lru.Need, capacity backends.Capacity) ([]catalog.Entry, error) {
	defer s.changing()()
	return k.catalog.ReserveMore(ctx, e.ID, need.Bytes, func(h catalog.Holdings) (map[catalog.EntryID]catalog.EvictCause, error) {
		plan, err := lru.Plan(k.catalogTime(), need, inventory(ctx, h, capacity), s.limit().bounds)
		if err != nil {
			return nil, fmt.Errorf("room for another generation of %s in %s: %w", e.ImageVolume, s.name, err)
		}
		for _, v := range plan {
			if catalog.EntryID(v.ID) != e.ID {
				s.ready.remove(catalog.EntryID(v.ID))
			}
		}
		return causes(plan), nil
	})
}

func firstOf(images []string) string {
	if len(images) == 0 {
		return ""
	}
	return images[0]
}
