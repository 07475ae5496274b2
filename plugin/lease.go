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
	done, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(fl.cfg.LeaseFor / 3)
		defer tick.Stop()
		renewed := time.Now()
		for {
			select {
			case <-end:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := fl.catalog.Renew(ctx, e.ID, e.Attempt, fl.holder, fl.cfg.LeaseFor, f.soFar())
			switch {
			case err == nil:
				renewed = time.Now()
			case errors.Is(err, catalog.ErrLost), time.Since(renewed) > fl.cfg.LeaseFor:
				lost(catalog.ErrLost)
				return
			}
		}
	}()
	return func() { close(end); <-done }
}
