package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/journal"
)

// openIntents are volumes in the making whose end is not known: an earlier process died, or the backend
// did not answer. They are settled when the backend does.
type openIntents struct {
	mu       sync.Mutex
	byVolume map[volumeKey][]openIntent // no key without intents
}

type openIntent struct {
	journal.Intent
	fate fate
	// found: its volume is there, whole, and is kept; Kept says why.
	found bool
}

// fate is what becomes of a volume that turns out to be whole.
type fate int

const (
	// mayStay: its requester was not answered, and will ask again or find it.
	mayStay fate = iota + 1
	// mustGo: its requester was told that there is none, or did not wait, and may have gone another way.
	mustGo
)

// fateAfterCrash is that of a volume which an earlier process made and did not answer for. A requester that
// had set a deadline goes another way when it hears nothing, and would find its name taken. But where it is
// not proved that there was no answer, the volume stays: somebody may have been told.
func fateAfterCrash(i journal.Intent) fate {
	if i.Deadline.IsZero() || i.Kept != "" {
		return mayStay
	}
	return mustGo
}

// whyKept is why a whole volume of an intent that may stay is kept.
func (i openIntent) whyKept() journal.Kept { return cmp.Or(i.Kept, journal.Unanswered) }

func (o *openIntents) add(f fate, i journal.Intent) { o.put(openIntent{Intent: i, fate: f}) }

func (o *openIntents) put(i openIntent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byVolume == nil {
		o.byVolume = map[volumeKey][]openIntent{}
	}
	key := volumeKey{i.Backend, i.Spec.Name}
	o.byVolume[key] = append(o.byVolume[key], i)
}

// names are the volumes whose intents are open.
func (o *openIntents) names() []volumeKey {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.byVolume))
}

// take hands out a volume's intents to be settled.
func (o *openIntents) take(key volumeKey) []openIntent {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.byVolume[key]
	delete(o.byVolume, key)
	return taken
}

// end takes out the intent of a volume which a repeated request has found whole: the answer ends it. It is
// not known where there is none.
func (o *openIntents) end(key volumeKey, token string) (ended openIntent, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	intents := o.byVolume[key]
	n := slices.IndexFunc(intents, func(i openIntent) bool { return i.Spec.Token == token })
	if n < 0 || token == "" {
		return openIntent{}, false
	}
	ended = intents[n]
	if intents = slices.Delete(intents, n, n+1); len(intents) == 0 {
		delete(o.byVolume, key)
	} else {
		o.byVolume[key] = intents
	}
	return ended, true
}

// intend notes in the journal what is about to be made, so that a crash from here on is settled.
func (l *ladder) intend(q *request, op journal.Op, spec backends.VolumeSpec) (journal.Intent, error) {
	i := journal.Intent{At: l.now().UTC(), Op: op, Backend: q.store.name, Spec: spec, Deadline: q.Deadline}
	i, err := l.books.begin(i)
	if err != nil {
		return i, fmt.Errorf("note the intent to make %s: %w", spec.Name, err)
	}
	return i, nil
}

// settleOpen settles the intents that are still open. Those whose backend does not answer stay open, and
// are tried again.
func (l *ladder) settleOpen(ctx context.Context) {
	for _, name := range l.open.names() {
		unlock, ok := l.names.tryLock(name)
		if !ok {
			continue // a repeated request is at it; its turn comes
		}
		for _, i := range l.open.take(name) {
			l.settleAndDrop(ctx, i)
		}
		unlock()
	}
}

// settleFirst settles what an earlier attempt at the request's volume may have left: half a volume would
// look like somebody else's. A whole one stays for alreadyMade to find. What cannot be settled yet makes
// the request step aside. The turn of the name is held.
func (l *ladder) settleFirst(ctx context.Context, q *request) *stepAside {
	var unsettled error
	for _, i := range l.open.take(volumeKey{q.store.name, q.Volume}) {
		settled, err := l.settle(ctx, i.Intent)
		if err == nil && settled != backends.Whole {
			l.books.drop(i.Intent)
			continue
		}
		l.open.put(i)
		unsettled = errors.Join(unsettled, err)
	}
	if unsettled == nil {
		return nil
	}
	return &stepAside{reason: ReasonUnavailable, cause: unsettled, detail: fmt.Sprintf("an earlier attempt at %s is not settled yet: %v", q.Volume, unsettled)}
}

// settleAndDrop settles one intent, or leaves it open. The turn of its volume's name is held. Who has a
// volume keeps it: what is in use is not tried again.
func (l *ladder) settleAndDrop(ctx context.Context, i openIntent) {
	if i.found {
		l.lookAtKept(ctx, i)
		return
	}
	log := l.log.WithFields(map[string]any{"backend": i.Backend, "volume": i.Spec.Name})
	settled, err := l.settleOne(ctx, i)
	switch inUse := errors.Is(err, backends.ErrInUse); {
	case inUse && settled == backends.Whole:
		l.keep(i, journal.InUse)
	case inUse: // not whole, and somebody has it: nothing of it is ours any more
		log.WithError(err).Warn("what was half made is in use, and stays")
		l.noteKept(i, journal.InUse)
		l.books.drop(i.Intent)
	case err != nil:
		log.WithError(err).Error("volume in the making not settled; trying again")
		l.open.put(i)
	case settled == backends.Whole:
		l.keep(i, i.whyKept())
	default:
		l.books.drop(i.Intent)
		log.WithField("settled", settled).Info("volume in the making was settled")
	}
}

// settleOne settles an intent, and takes back a whole volume that certainly nobody was told of.
// backends.ErrInUse: somebody has it all the same; with backends.Whole it is whole.
func (l *ladder) settleOne(ctx context.Context, i openIntent) (backends.Settled, error) {
	settled, err := l.settle(ctx, i.Intent)
	if err != nil {
		return 0, err
	}
	if settled != backends.Whole || i.fate == mayStay {
		return settled, nil
	}
	b := l.stock.stores[i.Backend].backend
	v, err := b.StatVolume(ctx, i.Spec.Name)
	if err == nil && v.Token == i.Spec.Token {
		err = b.DeleteVolume(ctx, backends.VolumeRef{Name: v.Name, ID: v.ID})
	}
	switch {
	case errors.Is(err, backends.ErrNotExist), errors.Is(err, backends.ErrNotOurs):
		return backends.Absent, nil
	case err != nil:
		return backends.Whole, err
	}
	return backends.Removed, nil
}

// settle asks the backend to end one intent.
func (l *ladder) settle(ctx context.Context, i journal.Intent) (backends.Settled, error) {
	s, ok := l.stock.stores[i.Backend]
	if !ok || s.backend == nil {
		return 0, fmt.Errorf("%w: %q is no longer configured; configure it once more so that %s can be settled", ErrUnknownBackend, i.Backend, i.Spec.Name)
	}
	return s.backend.Settle(ctx, i.Spec)
}
