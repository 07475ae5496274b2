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
	// begun is how many turns of requests were taken since somebody wants it, and open that one of them goes on. What only settles is
	// none, as it tells nobody of a volume. Guarded by names.mu.
	begun int
	open  bool
}

// onlooker looks on while requests take their turns at a name.
type onlooker struct {
	names *names
	key   volumeKey
	*turn
	busy  bool // a request had the turn when it came
	since int
}

// look looks on from now until the onlooker leaves.
func (n *names) look(key volumeKey) onlooker {
	t := n.want(key)
	n.mu.Lock()
	defer n.mu.Unlock()
	return onlooker{names: n, key: key, turn: t, busy: t.open, since: t.begun}
}

// met tells whether any request has had the turn since the onlooker came, be it but for the end of one.
func (o onlooker) met() bool {
	o.names.mu.Lock()
	defer o.names.mu.Unlock()
	return o.busy || o.begun != o.since
}

func (o onlooker) leave() { o.names.drop(o.key, o.turn) }

// lock waits for its turn.
func (n *names) lock(ctx context.Context, key volumeKey) (unlock func(), err error) {
	t := n.want(key)
	select {
	case t.held <- struct{}{}:
		return n.began(key, t), nil
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

func (n *names) began(key volumeKey, t *turn) (unlock func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t.begun, t.open = t.begun+1, true
	return func() {
		n.ended(t)
		<-t.held
		n.drop(key, t)
	}
}

func (n *names) ended(t *turn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t.open = false
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
