//go:build ceph

package rbd

import (
	"context"
	"sync"
)

// turns lets one at a time, or many that share, work on what has a key. The zero value is ready.
// Those that wait come in no particular order, but one that wants a key alone keeps new sharers out.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	sharers int
	alone   bool
	waiting int           // for it alone
	users   int           // holders and waiters; the last one removes the turn
	changed chan struct{} // closed when somebody leaves
}

// alone waits until nobody else has the key. The caller must call leave, once.
func (t *turns) alone(ctx context.Context, key string) (leave func(), err error) {
	return t.take(ctx, key, true)
}

// share waits until nobody has the key alone. The caller must call leave, once.
func (t *turns) share(ctx context.Context, key string) (leave func(), err error) {
	return t.take(ctx, key, false)
}

func (t *turns) take(ctx context.Context, key string, alone bool) (func(), error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held == nil {
		t.held = map[string]*turn{}
	}
	h := t.held[key]
	if h == nil {
		h = &turn{changed: make(chan struct{})}
		t.held[key] = h
	}
	h.users++
	if alone {
		h.waiting++
	}
	err := t.wait(ctx, h, alone)
	if alone {
		h.waiting--
	}
	if err != nil {
		t.gone(key, h)
		return nil, err
	}
	if alone {
		h.alone = true
	} else {
		h.sharers++
	}
	return func() { t.leave(key, h, alone) }, nil
}

// wait returns with t.mu held, as it was called.
func (t *turns) wait(ctx context.Context, h *turn, alone bool) error {
	for h.alone || alone && h.sharers > 0 || !alone && h.waiting > 0 {
		changed := h.changed
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		t.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (t *turns) leave(key string, h *turn, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if alone {
		h.alone = false
	} else {
		h.sharers--
	}
	t.gone(key, h)
}

// gone wakes the waiting goroutines after one has left.
func (t *turns) gone(key string, h *turn) {
	close(h.changed)
	h.changed = make(chan struct{})
	if h.users--; h.users == 0 {
		delete(t.held, key)
	}
}
