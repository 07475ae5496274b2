package plugin

import (
	"context"
	"slices"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// A fill whose end could not be written, since the catalog had no space or could not be reached, leaves
// its row filling under this process's own lease, and perhaps a claim. Nobody works on it any more: it is
// stranded. It is ended by the next request for the image, or by tidy, whichever comes first.

// endStranded ends a stranded row, which no flight fills.
func (fl *fills) endStranded(ctx context.Context, s *store, e catalog.Entry) error {
	if err := fl.certain(ctx, e); err != nil {
		return err
	}
	if err := fl.undoAttempt(ctx, s, e); err != nil {
		return err
	}
	if err := fl.releaseUnrecorded(ctx, s, e); err != nil {
		return err
	}
	return fl.catalog.ForgetFill(ctx, e.ID, e.Attempt)
}

// releaseUnrecorded releases claims of a row's attempts, up to the one it is at, which the row may not have learnt of, but
// for those that detached entries go on with: of any of its attempts may be left what cannot be freed yet.
func (fl *fills) releaseUnrecorded(ctx context.Context, s *store, e catalog.Entry) error {
	claims, err := fl.owner.Claims(ctx) // before the rows: what is detached by then is seen
	if err != nil {
		return err
	}
	claims = slices.DeleteFunc(claims, func(c internaltenant.Claim) bool { return c.EntryID != e.ID || c.Attempt > e.Attempt })
	if len(claims) == 0 {
		return nil
	}
	detached, err := fl.catalog.List(ctx, catalog.Filter{Store: s.id(), States: []catalog.State{catalog.Detached}})
	if err != nil {
		return err
	}
	for _, c := range claims {
		if slices.ContainsFunc(detached, func(d catalog.Entry) bool { return d.Claim == c.ID }) {
			continue
		}
		if err := fl.owner.Release(ctx, c.ID); err != nil {
			return err
		}
	}
	return nil
}

// seizeAll takes over the fills of hosts that are gone, on the stores that this one has: they are stranded then. Whoever
// waits for one of them was quicker, in the lease that is left to them.
func (fl *fills) seizeAll(ctx context.Context) {
	if fl.sole {
		return
	}
	for _, s := range fl.stock.orderedStores() {
		if !s.sure() {
			continue
		}
		seized, err := fl.catalog.SeizeExpired(ctx, s.id(), fl.holder, fl.cfg.LeaseFor, fl.cfg.LeaseFor/2)
		if err != nil && ctx.Err() == nil {
			fl.log.WithField("backend", s.name).WithError(err).Warn("fills of hosts that are gone not looked for; trying again")
		}
		for _, e := range seized {
			fl.books.noteEntry(EventFillFailed, e, catalog.Event{Reason: "interrupted", Detail: "its host ended, or was cut off, while it filled; what it had made goes"})
		}
	}
}

// endAllStranded ends every stranded row, as far as the catalog can be written by now.
func (fl *fills) endAllStranded(ctx context.Context) {
	rows, err := fl.catalog.List(ctx, catalog.Filter{States: []catalog.State{catalog.Filling}})
	if err != nil {
		fl.log.WithError(err).Warn("fills that nobody works on not looked for; trying again")
		return
	}
	for _, e := range rows {
		s := fl.stock.storeOf(e.Store)
		if s == nil || !s.sure() || e.Lease != fl.holder {
			continue
		}
		if err := fl.endIfStranded(ctx, s, e); err != nil && !isGone(err) && ctx.Err() == nil {
			fl.log.WithField("entry", e.ID).WithError(err).Warn("fill that nobody works on not ended; trying again")
		}
	}
}

// endIfStranded ends a row unless a flight has its key; while it does so, none can begin.
func (fl *fills) endIfStranded(ctx context.Context, s *store, e catalog.Entry) error {
	release, ok := fl.flights.close(flightKey{s.name, e.Key})
	if !ok {
		return nil
	}
	defer release()
	unlock, err := s.reserving.lock(ctx)
	if err != nil {
		return err
	}
	now, err := fl.catalog.Get(ctx, e.ID) // a flight may have ended it since the rows were read
	filled := fl.flights.fills(e.ID, nil) // one of another of its keys
	unlock()
	if err != nil || now.State != catalog.Filling || now.Lease != fl.holder || filled {
		return err
	}
	return fl.endStranded(ctx, s, now)
}

// close keeps flights of a key from beginning until release is called; those who want one wait. It is
// not ok where there is one already.
func (fl *flights) close(key flightKey) (release func(), ok bool) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if _, busy := fl.byKey[key]; busy {
		return nil, false
	}
	f := &flight{key: key, done: make(chan struct{}), leaving: true}
	fl.byKey[key] = f
	return func() {
		fl.mu.Lock()
		delete(fl.byKey, key)
		fl.mu.Unlock()
		close(f.done)
	}, true
}
