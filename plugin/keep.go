package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// A loan whose volume is there may be kept, so that the requester's next clone of the image begins while this cache is
// still asked for it. See decision 29.

const (
	// keptLasts is how long a kept loan lasts by itself: less than an eviction waits for it.
	keptLasts = 8 * time.Second
	// keptAnew is how often it is renewed, and its entry looked at, which another host may evict.
	keptAnew = 2 * time.Second
	// keptAtMost is how long a loan is kept. The requester keeps a later one where it goes on.
	keptAtMost = time.Minute
)

// KeepLoan keeps what was lent for a volume that is made by now, and returns when the requester is to give it back by EndLoan: nil
// after a minute, or sooner where the entry goes; ErrStopping. Until then the loan is renewed here. When ctx ends the requester has gone, and the
// loan ends by itself within seconds, as it does where this process dies. catalog.ErrNoLoan: it has ended.
func (d Lending) KeepLoan(ctx context.Context, id LoanID) error {
	leave, ok := d.gate.follow()
	if !ok {
		return ErrStopping
	}
	defer leave()
	over := time.NewTimer(keptAtMost)
	defer over.Stop()
	for first := true; ; first = false {
		recalled := d.stock.recalled()
		l, err := d.stock.catalog.KeepLoan(ctx, id, keptLasts)
		if errors.Is(err, catalog.ErrLost) {
			return nil
		}
		if err != nil {
			return err
		}
		if first {
			failpoint.Reached(failpoint.Keep)
			d.stock.madeOf(l)
		}
		if wait, err := d.keptOn(ctx, recalled, over.C); !wait {
			return err
		}
	}
}

// keptOn waits until the entry of a kept loan is to be looked at again; else it tells how keeping it ends.
func (d Lending) keptOn(ctx context.Context, recalled <-chan struct{}, over <-chan time.Time) (look bool, end error) {
	again := time.NewTimer(keptAnew)
	defer again.Stop()
	select {
	case <-recalled:
		return true, nil
	case <-again.C:
		return true, nil
	case <-over:
		return false, nil
	case <-d.ended:
		return false, ErrStopping
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// madeOf tells the backend that the volume of a loan is there.
func (k *stock) madeOf(l catalog.Loan) {
	s := k.storeOf(l.Store)
	if s == nil {
		return
	}
	if lender, lends := backends.Capability[backends.Lender](s.images); lends {
		lender.Returned(l.ImageVolume, l.Generation, backends.Made)
	}
}
