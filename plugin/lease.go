package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// keepLease renews the lease of a fill, and tells others how far it is with that, until stop is called, which waits
// for it. A lease that is lost, or that could not be renewed before it ran out, ends the fill with ErrLost: another
// host may have begun.
func (fl *fills) keepLease(ctx context.Context, e catalog.Entry, f *flight, lost context.CancelCauseFunc) (stop func()) {
	return fl.keepRenewed(ctx, lost, func(ctx context.Context) error {
		return fl.catalog.Renew(ctx, e.ID, e.Attempt, fl.holder, fl.cfg.LeaseFor, f.soFar())
	})
}

// keepRenewed renews a lease until stop is called, which waits for it. One that is lost, or that could not be renewed
// before it ran out, calls lost with ErrLost. A renewal that is under way then is given up: a server that is away keeps it
// for a minute.
func (h *house) keepRenewed(ctx context.Context, lost context.CancelCauseFunc, renew func(context.Context) error) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(h.cfg.LeaseFor / 3)
		defer tick.Stop()
		renewed := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := renew(ctx)
			switch {
			case err == nil:
				renewed = time.Now()
			case ctx.Err() != nil:
				return
			case errors.Is(err, catalog.ErrLost), time.Since(renewed) > h.cfg.LeaseFor:
				lost(catalog.ErrLost)
				return
			}
		}
	}()
	return func() { end(); <-done }
}
