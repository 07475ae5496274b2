package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// evict removes a ready entry. ErrPinned, catalog.ErrLost (it is not ready any more).
func (k *stock) evict(ctx context.Context, s *store, id catalog.EntryID, cause catalog.EvictCause) (catalog.Entry, error) {
	e, err := k.beginEviction(ctx, s, id, cause)
	if err != nil {
		return catalog.Entry{}, err
	}
	return e, k.finishEviction(ctx, s, e)
}

func (k *stock) beginEviction(ctx context.Context, s *store, id catalog.EntryID, cause catalog.EvictCause) (catalog.Entry, error) {
	defer s.changing()()
	s.ready.remove(id)
	return k.catalog.BeginEvict(ctx, id, cause)
}

// finishEviction takes an evicting entry to its end: the image-volume is gone, or detached while clones
// live; then the claim is released; then the row goes. It may be repeated after a crash at any point.
func (k *stock) finishEviction(ctx context.Context, s *store, e catalog.Entry) error {
	return k.finishEvictionFor(ctx, s, e, "")
}

// finishEvictionFor is finishEviction to make room for an image; "" where it is for none, or after a crash.
func (k *stock) finishEvictionFor(ctx context.Context, s *store, e catalog.Entry, image string) error {
	failpoint.Reached(failpoint.Evict)
	if err := k.ensure(ctx, s); err != nil {
		return err
	}
	if s.id() != e.Store { // it had been assumed to be: that it lacks the image-volume says nothing
		return fmt.Errorf("%w: %s is not the store of entry %s", backends.ErrUnavailable, s.name, e.ID)
	}
	if err := k.awaitReturns(ctx, s, e); err != nil {
		return err
	}
	retired, err := s.images.Retire(ctx, e.ImageVolume)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		retired = backends.Retired{Gone: true}
	case err != nil:
		return fmt.Errorf("retire image-volume %s: %w", e.ImageVolume, err)
	}
	failpoint.Reached(failpoint.Retire)
	log := k.log.WithFields(map[string]any{"backend": s.name, "image_volume": e.ImageVolume, "cause": e.EvictCause})
	if image != "" {
		log = log.WithField("for", image)
	}
	if !retired.Gone {
		err := k.catalog.SetDetached(ctx, e.ID, retired.Clones, e.HeldBytes)
		if errors.Is(err, catalog.ErrLost) && !k.sole { // another host took it over, and has ended it
			return nil
		}
		if err != nil {
			return err
		}
		failpoint.Reached(failpoint.Detach)
		k.books.noteEntry(EventDetached, e, catalog.Event{Reason: Reason(e.EvictCause), Bytes: e.HeldBytes, Detail: evictedFor(e, image)})
		log.WithField("clones", retired.Clones).Info("image-volume detached; its space is held until the last clone is gone")
		return nil
	}
	if err := k.removeRow(ctx, s, e, image); err != nil {
		return err
	}
	log.WithField("bytes", e.HeldBytes).Info("image-volume evicted")
	return nil
}

// evictedFor says which image-volume went, and for which image.
func evictedFor(e catalog.Entry, image string) string {
	if image == "" {
		return "" // noteEntry names the image-volume
	}
	return fmt.Sprintf("image-volume %s, to make room for %s", e.ImageVolume, image)
}

// removeRow ends an entry whose image-volume is gone: the claim first, so that no quota is charged for
// what no row names.
func (k *stock) removeRow(ctx context.Context, s *store, e catalog.Entry, image string) error {
	if e.Claim != "" {
		if err := k.owner.Release(ctx, e.Claim); err != nil {
			return fmt.Errorf("release claim %s: %w", e.Claim, err)
		}
	}
	failpoint.Reached(failpoint.Release)
	if err := k.catalog.Remove(ctx, e.ID); err != nil {
		return err
	}
	failpoint.Reached(failpoint.Remove)
	k.books.noteEntry(evictedKind(e), e, catalog.Event{Reason: Reason(e.EvictCause), Bytes: e.HeldBytes, Detail: evictedFor(e, image)})
	if e.EvictCause != "" {
		k.observer.Evicted(s.name, string(e.EvictCause), e.HeldBytes)
	}
	return nil
}

// forgetVanished drops an entry whose image-volume turned out not to be there any more.
func (k *stock) forgetVanished(ctx context.Context, s *store, e catalog.Entry) error {
	k.log.WithFields(map[string]any{"backend": s.name, "image_volume": e.ImageVolume}).Warn("image-volume has vanished from its backend; the image is cached anew")
	_, err := k.evict(ctx, s, e.ID, catalog.CauseGone)
	if errors.Is(err, catalog.ErrPinned) { // there is nothing left to pin
		if _, err := k.catalog.SetPinned(ctx, e.ID, false); err != nil {
			return err
		}
		_, err = k.evict(ctx, s, e.ID, catalog.CauseGone)
	}
	if errors.Is(err, catalog.ErrLost) || errors.Is(err, catalog.ErrNotFound) { // somebody else was faster
		return nil
	}
	return err
}

// reap frees detached image-volumes of a store whose last clone is gone, and ends what an eviction, or a
// reap that a kill interrupted, had to leave. It returns the bytes that came free.
func (k *stock) reap(ctx context.Context, s *store) (r backends.Reaped, err error) {
	if err := k.ensure(ctx, s); err != nil {
		return backends.Reaped{}, err
	}
	err = k.awaitDuty(ctx, dutyWanted{duty: catalog.DutyReap, store: s.id()}, func(ctx context.Context) (err error) {
		r, err = k.reapAlone(ctx, s)
		return err
	})
	return r, err
}

// reapDue is reap if no other host is at it, or has been within every.
func (k *stock) reapDue(ctx context.Context, s *store, every time.Duration) error {
	if err := k.ensure(ctx, s); err != nil {
		return err
	}
	_, err := k.onDuty(ctx, dutyWanted{duty: catalog.DutyReap, store: s.id(), every: every}, func(ctx context.Context) error {
		_, err := k.reapAlone(ctx, s)
		return err
	})
	return err
}

// reapAlone is reap while no other host does it.
func (k *stock) reapAlone(ctx context.Context, s *store) (backends.Reaped, error) {
	if err := k.expireLoans(ctx, s); err != nil {
		return backends.Reaped{}, err
	}
	entries, err := k.catalog.List(ctx, catalog.Filter{Store: s.id(), States: []catalog.State{catalog.Evicting, catalog.Detached}})
	if err != nil {
		return backends.Reaped{}, err
	}
	var problems []error
	for _, e := range entries {
		if e.State == catalog.Evicting && !k.isLent(ctx, s, e) {
			problems = append(problems, k.finishEvictionAlone(ctx, s, e))
		}
	}
	reaped, err := s.images.Reap(ctx)
	k.reached(s, err)
	failpoint.Reached(failpoint.Reap)
	gone, lookErr := goneDetached(ctx, s, entries, reaped.ImageVolumes)
	for _, e := range gone {
		problems = append(problems, k.removeRow(ctx, s, e, ""))
	}
	return reaped, errors.Join(append(problems, err, lookErr)...)
}

// goneDetached are the entries, detached by now, whose image-volume is no longer there: it was reaped just now, or
// earlier by a process that died before it removed the row, or others have removed it.
func goneDetached(ctx context.Context, s *store, entries []catalog.Entry, reaped []backends.ImageVolumeID) ([]catalog.Entry, error) {
	var gone, rest []catalog.Entry
	for _, e := range entries {
		switch {
		case slices.Contains(reaped, e.ImageVolume):
			gone = append(gone, e)
		case e.State == catalog.Detached:
			rest = append(rest, e)
		}
	}
	if len(rest) == 0 {
		return gone, nil
	}
	held, err := listStore(ctx, s)
	if err != nil {
		return gone, err
	}
	for _, e := range rest {
		if !held.has(e.ImageVolume) {
			gone = append(gone, e)
		}
	}
	return gone, nil
}

// finishEvictionAlone ends a left-over eviction, unless somebody is at it, here or on another host.
func (k *stock) finishEvictionAlone(ctx context.Context, s *store, e catalog.Entry) error {
	free, err := s.enterRoom(ctx)
	if err != nil {
		return err
	}
	defer free()
	now, err := k.catalog.TakeEviction(ctx, e.ID)
	if isGone(err) { // it has ended, or another host is at it
		return nil
	}
	if err != nil {
		return err
	}
	return k.finishEviction(ctx, s, now)
}
