package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// reserve makes the row filling, by us, or returns the entry that somebody else has made in the
// meantime (mine is false). A fill of another process is waited for.
func (fl *fills) reserve(ctx context.Context, s *store, f *flight, want *wanted) (entry catalog.Entry, mine bool, err error) {
	spec := fl.fillSpec(s, want)
	var pause backoff
	leftovers := leftovers{fl: fl}
	for {
		if entry, there, err := fl.takeProjectsPlace(ctx, s, f, want, &pause); err != nil || there {
			return entry, false, err
		}
		entry, previous, start, stranded, err := fl.beginFill(ctx, s, f, spec)
		if err != nil {
			return catalog.Entry{}, false, err
		}
		switch start {
		case catalog.Started:
			if err := fl.undoTaken(ctx, s, previous); err != nil {
				if err := leftovers.wait(ctx, errors.Join(err, fl.strand(ctx, entry, previous))); err != nil {
					return catalog.Entry{}, false, err
				}
				continue
			}
			f.stopFollowing(want.image.SizeBytes)
			return entry, true, nil
		case catalog.AlreadyReady:
			return entry, false, nil
		case catalog.Waiting:
			return catalog.Entry{}, false, failedBefore(want.image.Ref(), entry)
		case catalog.Busy:
			if stranded {
				if err := fl.endStranded(ctx, s, entry); err != nil && !isGone(err) {
					if err := leftovers.wait(ctx, err); err != nil {
						return catalog.Entry{}, false, err
					}
				}
				continue
			}
		}
		f.project.leave()
		if err := fl.follow(ctx, f, entry, &pause); err != nil {
			return catalog.Entry{}, false, err
		}
	}
}

// leftovers are of another host's attempt that was taken over, and cannot be removed as long as that host's client has them
// open: a Ceph cluster misses a client that was stopped, or whose machine is gone, after half a minute.
type leftovers struct {
	fl    *fills
	began time.Time // of the first try; zero before it
	pause backoff
}

// wait waits for the next try at removing them; it gives up, with the error of the last one, after two leases, or where
// waiting does not help.
func (l *leftovers) wait(ctx context.Context, err error) error {
	if l.began.IsZero() {
		l.began = time.Now()
	}
	passes := errors.Is(err, backends.ErrInUse) || errors.Is(err, backends.ErrUnavailable)
	if l.fl.sole || !passes || time.Since(l.began) > 2*l.fl.cfg.LeaseFor {
		return err
	}
	return l.pause.wait(ctx)
}

func (fl *fills) fillSpec(s *store, want *wanted) catalog.FillSpec {
	return catalog.FillSpec{
		Store: s.id(), Key: want.key, Domain: want.image.Domain, ImageID: want.image.Ref(),
		Inspector: diskimage.InspectorVersion, Holder: fl.holder, LeaseFor: fl.cfg.LeaseFor, TotalBytes: want.image.SizeBytes,
	}
}

// beginFill is the catalog's, and keeps in mind what it finds ready. A row that is busy under our own
// lease, and that no other flight fills, is stranded.
func (fl *fills) beginFill(ctx context.Context, s *store, f *flight, spec catalog.FillSpec) (entry, previous catalog.Entry, start catalog.FillStart, stranded bool, err error) {
	defer s.changing()()
	unlock, err := s.reserving.lock(ctx)
	if err != nil {
		return entry, previous, 0, false, err
	}
	defer unlock()
	entry, previous, start, err = fl.catalog.BeginFill(ctx, spec)
	if err != nil {
		return entry, previous, start, false, err
	}
	switch start {
	case catalog.Started:
		f.entryID.Store(entry.ID)
	case catalog.AlreadyReady:
		s.learn(entry, spec.Key)
	case catalog.Busy:
		stranded = entry.Lease == fl.holder && !fl.flights.fills(entry.ID, f)
	case catalog.Waiting:
	}
	return entry, previous, start, stranded, nil
}

// strand lets a row name again what its previous attempt had made and could not be removed now.
func (fl *fills) strand(ctx context.Context, e, previous catalog.Entry) error {
	ctx, cancel := fl.cleanup(ctx)
	defer cancel()
	var staged, claimed error
	if previous.ImageVolume != "" {
		staged = fl.catalog.RecordStage(ctx, e.ID, e.Attempt, previous.ImageVolume, previous.Form, previous.VirtualBytes)
	}
	if previous.Claim != "" {
		claimed = fl.catalog.RecordClaim(ctx, e.ID, e.Attempt, previous.Claim)
	}
	return errors.Join(staged, claimed)
}

// undoTaken is undoAttempt of a row that was taken over from another host, and of its claims that it had not learnt of: no
// reconcile may come for long.
func (fl *fills) undoTaken(ctx context.Context, s *store, previous catalog.Entry) error {
	if err := fl.undoAttempt(ctx, s, previous); err != nil || previous.ID == "" || !s.charged() {
		return err
	}
	return fl.releaseUnrecorded(ctx, s, previous)
}

// undoAttempt removes what a dead holder's attempt had staged and claimed, but for what a detached entry goes on with.
func (fl *fills) undoAttempt(ctx context.Context, s *store, previous catalog.Entry) error {
	if previous.ImageVolume != "" {
		kept, err := fl.stock.retireAttempt(ctx, s, previous.ImageVolume, previous.Claim)
		if err != nil {
			return fmt.Errorf("remove image-volume %s of attempt %d: %w", previous.ImageVolume, previous.Attempt, err)
		}
		if kept {
			return nil
		}
	}
	if previous.Claim != "" {
		return fl.owner.Release(ctx, previous.Claim)
	}
	return nil
}
