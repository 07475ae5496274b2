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
func (p *Plugin) keepLease(ctx context.Context, e catalog.Entry, f *flight, lost context.CancelCauseFunc) (stop func()) {
	done, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(p.cfg.LeaseFor / 3)
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
			err := p.catalog.Renew(ctx, e.ID, e.Attempt, p.holder, p.cfg.LeaseFor, f.soFar())
			switch {
			case err == nil:
				renewed = time.Now()
			case errors.Is(err, catalog.ErrLost), time.Since(renewed) > p.cfg.LeaseFor:
				lost(catalog.ErrLost)
				return
			}
		}
	}()
	return func() { close(end); <-done }
}
