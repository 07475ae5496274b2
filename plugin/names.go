package plugin

import (
	"context"
	"sync"

	"github.com/clonecache/clonecache/backends"
)

// volumeKey is one volume's name on one backend.
type volumeKey struct {
	backend backends.Name
	volume  backends.VolumeName
}

// names lets one at a time make, or settle, the volume of a name.
type names struct {
	mu   sync.Mutex
	busy map[volumeKey]*turn
}

// turn is held by the one whose turn it is; it goes when nobody wants it any more.
type turn struct {
	held  chan struct{} // of capacity 1
	wants int           // guarded by names.mu
}

// lock waits for its turn.
func (n *names) lock(ctx context.Context, key volumeKey) (unlock func(), err error) {
	t := n.want(key)
	select {
	case t.held <- struct{}{}:
		return func() { <-t.held; n.drop(key, t) }, nil
	case <-ctx.Done():
		n.drop(key, t)
		return nil, ctx.Err()
	}
}

// tryLock takes its turn if nobody has it.
func (n *names) tryLock(key volumeKey) (unlock func(), ok bool) {
	t := n.want(key)
	select {
	case t.held <- struct{}{}:
		return func() { <-t.held; n.drop(key, t) }, true
	default:
		n.drop(key, t)
		return nil, false
	}
}

func (n *names) want(key volumeKey) *turn {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, ok := n.busy[key]
	if !ok {
		t = &turn{held: make(chan struct{}, 1)}
		n.busy[key] = t
	}
	t.wants++
	return t
}

func (n *names) drop(key volumeKey, t *turn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t.wants--; t.wants == 0 {
		delete(n.busy, key)
	}
}
