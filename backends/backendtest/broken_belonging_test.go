package backendtest

import (
	"context"
	"crypto/rand"

	"github.com/clonecache/clonecache/backends"
)

// belonger breaks a promise of backends.Belonging.
type belonger struct {
	*Memory
	identify func(backends.Identity) backends.Identity
	hold     func(context.Context, backends.Holder) error
	takeOver func(context.Context, backends.Holder) (backends.Holder, error)
}

func (b *belonger) Identify(ctx context.Context) (backends.Identity, error) {
	id, err := b.Memory.Identify(ctx)
	if b.identify != nil {
		id = b.identify(id)
	}
	return id, err
}

func (b *belonger) HoldFor(ctx context.Context, h backends.Holder) error {
	if b.hold != nil {
		return b.hold(ctx, h)
	}
	return b.Memory.HoldFor(ctx, h)
}

func (b *belonger) TakeOver(ctx context.Context, h backends.Holder) (backends.Holder, error) {
	if b.takeOver != nil {
		return b.takeOver(ctx, h)
	}
	return b.Memory.TakeOver(ctx, h)
}

func belongs(breaking func(*belonger)) func(*Memory) backends.Backend {
	return func(m *Memory) backends.Backend {
		b := &belonger{Memory: m}
		breaking(b)
		return b
	}
}

var brokenBelongings = []brokenBackend{
	{"AStoreHasOneIdentity", "is another one each time", dependentInfo, belongs(func(b *belonger) {
		b.identify = func(id backends.Identity) backends.Identity { id.ID = backends.StoreID(rand.Text()); return id }
	})},
	{"AStoreHasOneIdentity", "has no ID", dependentInfo, belongs(func(b *belonger) {
		b.identify = func(id backends.Identity) backends.Identity { id.ID = ""; return id }
	})},
	{"AStoreIsHeldByOne", "lets the next one have it", dependentInfo, belongs(func(b *belonger) {
		b.hold = func(ctx context.Context, h backends.Holder) error { _, err := b.Memory.TakeOver(ctx, h); return err }
	})},
	{"AStoreIsHeldByOne", "does not say by whom", dependentInfo, belongs(func(b *belonger) {
		b.hold = func(ctx context.Context, h backends.Holder) error {
			if b.Memory.HoldFor(ctx, h) != nil {
				return backends.ErrHeld
			}
			return nil
		}
	})},
	{"AStoreIsHeldByOne", "refuses its own holder once it has moved", dependentInfo, belongs(func(b *belonger) {
		b.hold = func(ctx context.Context, h backends.Holder) error {
			b.mu.Lock()
			was := b.holder
			b.mu.Unlock()
			if was.Catalog == h.Catalog && was.StateDir != h.StateDir {
				return &backends.HeldError{By: was}
			}
			return b.Memory.HoldFor(ctx, h)
		}
	})},
	{"OfSeveralHoldersAtOnceOneSucceeds", "looks first and notes it later", dependentInfo, belongs(func(b *belonger) {
		looked := make(chan struct{}, 2)
		b.hold = func(ctx context.Context, h backends.Holder) error {
			select { // two look before either notes
			case looked <- struct{}{}:
				_, err := b.Memory.TakeOver(ctx, h)
				return err
			default:
				return b.Memory.HoldFor(ctx, h)
			}
		}
	})},
	{"TakingOverTellsWhoseItWas", "tells nothing", dependentInfo, belongs(func(b *belonger) {
		b.takeOver = func(ctx context.Context, h backends.Holder) (backends.Holder, error) {
			_, err := b.Memory.TakeOver(ctx, h)
			return backends.Holder{}, err
		}
	})},
	{"TakingOverTellsWhoseItWas", "leaves it with the former one", dependentInfo, belongs(func(b *belonger) {
		first := true
		b.takeOver = func(ctx context.Context, h backends.Holder) (backends.Holder, error) {
			b.mu.Lock()
			was := b.holder
			b.mu.Unlock()
			if !first {
				return was, nil
			}
			first = false
			return b.Memory.TakeOver(ctx, h)
		}
	})},
}
