package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/journal"
)

// openIntents are volumes in the making whose end is not known: an earlier process died, or the backend
// did not answer. They are settled when the backend does.
type openIntents struct {
	mu      sync.Mutex
	intents []openIntent
}

type openIntent struct {
	journal.Intent
	fate fate
}

// fate is what becomes of a volume that turns out to be whole.
type fate int

const (
	// mayStay: its requester was not answered, and will ask again or find it.
	mayStay fate = iota + 1
	// mustGo: its requester was told that there is none, and may have gone another way.
	mustGo
)

func (o *openIntents) add(f fate, intents ...journal.Intent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range intents {
		o.intents = append(o.intents, openIntent{i, f})
	}
}

// names are the volumes whose intents are open.
func (o *openIntents) names() []volumeKey {
	o.mu.Lock()
	defer o.mu.Unlock()
	keys := make([]volumeKey, 0, len(o.intents))
	for _, i := range o.intents {
		keys = append(keys, volumeKey{i.Backend, i.Spec.Name})
	}
	return keys
}

// take hands out a volume's intents to be settled.
func (o *openIntents) take(key volumeKey) []openIntent {
	o.mu.Lock()
	defer o.mu.Unlock()
	var taken, rest []openIntent
	for _, i := range o.intents {
		if (volumeKey{i.Backend, i.Spec.Name}) == key {
			taken = append(taken, i)
		} else {
			rest = append(rest, i)
		}
	}
	o.intents = rest
	return taken
}

// keep lets a volume stay which a repeated request has found whole.
func (o *openIntents) keep(token string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for n := range o.intents {
		if o.intents[n].Spec.Token == token {
			o.intents[n].fate = mayStay
		}
	}
}

// intend notes in the journal what is about to be made, so that a crash from here on is settled.
func (p *Plugin) intend(q *request, op journal.Op, spec backends.VolumeSpec) (journal.Intent, error) {
	i := journal.Intent{At: p.now().UTC(), Op: op, Backend: q.store.name, Spec: spec, Deadline: q.Deadline}
	seq, err := p.journal.Begin(i)
	if err != nil {
		return i, fmt.Errorf("note the intent to make %s: %w", spec.Name, err)
	}
	i.Seq = seq
	failpoint.Reached(failpoint.Intent)
	return i, nil
}

// settleOpen settles the intents that are still open. Those whose backend does not answer stay open, and
// are tried again.
func (p *Plugin) settleOpen(ctx context.Context) {
	for _, name := range p.open.names() {
		unlock, ok := p.names.tryLock(name)
		if !ok {
			continue // a repeated request is at it; its turn comes
		}
		for _, i := range p.open.take(name) {
			p.settleAndDrop(ctx, i)
		}
		unlock()
	}
}

// settleAndDrop settles one intent, or leaves it open. The turn of its volume's name is held.
func (p *Plugin) settleAndDrop(ctx context.Context, i openIntent) {
	log := p.log.WithFields(map[string]any{"backend": i.Backend, "volume": i.Spec.Name})
	settled, err := p.settleOne(ctx, i)
	if err != nil {
		log.WithError(err).Error("volume in the making not settled; trying again")
		p.open.add(i.fate, i.Intent)
		return
	}
	if err := p.journal.Drop(i.Seq); err != nil {
		log.WithError(err).Warn("settled intent not dropped; it is settled once more at the next start")
	}
	log.WithField("settled", settled).Info("volume in the making was settled")
}

// settleOne settles an intent, and removes a whole volume that its requester was told does not exist.
func (p *Plugin) settleOne(ctx context.Context, i openIntent) (backends.Settled, error) {
	settled, err := p.settle(ctx, i.Intent)
	if err != nil || settled != backends.Whole || i.fate == mayStay {
		return settled, err
	}
	b := p.stores[i.Backend].backend
	v, err := b.StatVolume(ctx, i.Spec.Name)
	if err == nil && v.Token == i.Spec.Token {
		err = b.DeleteVolume(ctx, backends.VolumeRef{Name: v.Name, ID: v.ID})
	}
	if errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrNotOurs) {
		err = nil
	}
	return backends.Removed, err
}

// settle asks the backend to end one intent.
func (p *Plugin) settle(ctx context.Context, i journal.Intent) (backends.Settled, error) {
	s, ok := p.stores[i.Backend]
	if !ok || s.backend == nil {
		return 0, fmt.Errorf("%w: %q is no longer configured; configure it once more so that %s can be settled", ErrUnknownBackend, i.Backend, i.Spec.Name)
	}
	return s.backend.Settle(ctx, i.Spec)
}
