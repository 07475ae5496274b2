package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// A fill that its project keeps back has reserved nothing. Another host, which another project asks, may make the image
// meanwhile: that is looked for as long as it waits.

// takeProjectsPlace waits for the place of a project, in which a fill may begin. With it, there is false. What another host has
// made needs none: there is then true, and entry is that. The error is ctx's, or the catalog's.
func (fl *fills) takeProjectsPlace(ctx context.Context, s *store, f *flight, want *wanted, pause *backoff) (entry catalog.Entry, there bool, err error) {
	begun := fl.now()
	for {
		granted := f.project.take()
		if granted == nil {
			return catalog.Entry{}, false, nil
		}
		found, state, err := fl.elsewhere(ctx, s, want)
		switch {
		case err != nil:
			return catalog.Entry{}, false, err
		case state == catalog.AlreadyReady:
			return found, true, nil
		case state == catalog.Busy:
			f.project.leave() // who waits for another one's fill has none
			err = fl.follow(ctx, f, found, pause)
		default:
			err = fl.awaitPlace(ctx, f, want, granted, pause)
			f.heldBack = fl.now().Sub(begun)
		}
		if err != nil {
			return catalog.Entry{}, false, err
		}
	}
}

// elsewhere is what another host has made of an image (catalog.AlreadyReady), or fills now (catalog.Busy); catalog.Waiting: neither.
func (fl *fills) elsewhere(ctx context.Context, s *store, want *wanted) (catalog.Entry, catalog.FillStart, error) {
	if fl.sole {
		return catalog.Entry{}, catalog.Waiting, nil
	}
	defer s.changing()()
	e, err := fl.catalog.Find(ctx, s.id(), want.image.Domain, want.key)
	if err == nil && e.State == catalog.Filling && e.Lease != fl.holder {
		_, err = fl.catalog.FillOf(ctx, e.ID)
	}
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		return catalog.Entry{}, catalog.Waiting, nil
	case err != nil:
		return catalog.Entry{}, 0, err
	case e.State == catalog.Filling && e.Lease != fl.holder:
		return e, catalog.Busy, nil
	case e.State == catalog.Ready && e.QuarantinedAt.IsZero() && !outdated(e):
		s.learn(e, want.key)
		return e, catalog.AlreadyReady, nil
	}
	return catalog.Entry{}, catalog.Waiting, nil
}

// awaitPlace waits until a place was given, or until it is time to look again what other hosts have made.
func (fl *fills) awaitPlace(ctx context.Context, f *flight, want *wanted, granted <-chan struct{}, pause *backoff) error {
	if f.followed() != "" {
		f.stopFollowing(want.image.SizeBytes)
	}
	var look <-chan time.Time // never, where there is no other host
	if !fl.sole {
		timer := time.NewTimer(pause.length())
		defer timer.Stop()
		look = timer.C
	}
	select {
	case <-granted:
		return nil
	case <-look:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
