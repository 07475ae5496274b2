package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/journal"
)

// openIntents are volumes in the making whose end is not known: an earlier process died, or the backend
// did not answer. They are settled when the backend does. They are found by the volume's name, and told apart by the
// store: two stores may have a volume of one name each.
type openIntents struct {
	mu       sync.Mutex
	byVolume map[backends.VolumeName][]openIntent // no name without intents
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

// fateIfWhole is that of a volume which an earlier process made and did not answer for. A requester that
// had set a deadline goes another way when it hears nothing, and would find its name taken. But where it is
// not proved that there was no answer, the volume stays: somebody may have been told.
func fateIfWhole(i journal.Intent) fate {
	if i.Deadline.IsZero() || i.Kept != "" {
		return mayStay
	}
	return mustGo
}

// whyKept is why a whole volume of an intent is kept.
func (i openIntent) whyKept() journal.Kept {
	if i.fate == mustGo {
		return cmp.Or(i.Kept, journal.Unproved)
	}
	return cmp.Or(i.Kept, journal.Unanswered)
}

func (o *openIntents) add(f fate, i journal.Intent) { o.put(openIntent{Intent: i, fate: f}) }

func (o *openIntents) put(i openIntent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byVolume == nil {
		o.byVolume = map[backends.VolumeName][]openIntent{}
	}
	o.byVolume[i.Spec.Name] = append(o.byVolume[i.Spec.Name], i)
}

// all are the intents that are open.
func (o *openIntents) all() []openIntent {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []openIntent
	for _, intents := range o.byVolume {
		all = append(all, intents...)
	}
	return all
}

// take hands out those of a volume's intents that are meant, to be settled.
func (o *openIntents) take(volume backends.VolumeName, meant func(openIntent) bool) []openIntent {
	o.mu.Lock()
	defer o.mu.Unlock()
	var taken, left []openIntent
	for _, i := range o.byVolume[volume] {
		if meant(i) {
			taken = append(taken, i)
		} else {
			left = append(left, i)
		}
	}
	if len(left) == 0 {
		delete(o.byVolume, volume)
	} else if len(taken) > 0 {
		o.byVolume[volume] = left
	}
	return taken
}

// storeOf is the backend that an intent is of, by its ID; nil where that is not configured. One that has not answered
// since it was configured is taken for the one of its name. So is that of a record which has no ID, in which the name
// is the one of that time.
func (l *ladder) storeOf(i journal.Intent) *store {
	s := l.stock.storeOf(i.Store)
	if named := l.stock.named(i.Backend); s == nil && named != nil && (i.Store == "" || named.id() == "") {
		s = named
	}
	if s == nil || s.backend == nil {
		return nil
	}
	return s
}

// on means the intents of a store.
func (l *ladder) on(s *store) func(openIntent) bool {
	return func(i openIntent) bool { return l.storeOf(i.Intent) == s }
}

// end takes out the intent of a volume which a repeated request has found whole: the answer ends it. It is
// not known where there is none.
func (l *ladder) end(s *store, v backends.Volume) (ended openIntent, known bool) {
	if v.Token == "" {
		return openIntent{}, false
	}
	taken := l.unsettled.take(v.Name, func(i openIntent) bool { return i.Spec.Token == v.Token && l.storeOf(i.Intent) == s })
	if len(taken) == 0 {
		return openIntent{}, false
	}
	return taken[0], true
}

// resume keeps the intent of an earlier process, under the name that its backend has now.
func (l *ladder) resume(i journal.Intent) { l.unsettled.add(fateIfWhole(i), l.nowCalled(i)) }

// nowCalled is an intent with the name that its backend has now, where that is configured. Records of earlier versions
// have names alone.
func (l *ladder) nowCalled(i journal.Intent) journal.Intent {
	if i.Store == "" {
		i.Backend = l.stock.nowCalled(i.Backend)
	} else if s := l.stock.storeOf(i.Store); s != nil {
		i.Backend = s.name
	}
	return i
}

// intend notes in the journal what is about to be made, so that a crash from here on is settled.
func (l *ladder) intend(q *request, op journal.Op, spec backends.VolumeSpec) (journal.Intent, error) {
	i := journal.Intent{At: l.now().UTC(), Op: op, Store: q.store.id(), Backend: q.store.name, Spec: spec, Deadline: q.Deadline}
	i, err := l.books.begin(i)
	if err != nil {
		return i, fmt.Errorf("note the intent to make %s: %w", spec.Name, err)
	}
	return i, nil
}

// settleOpen settles the intents that are still open. Those whose backend does not answer stay open, and
// are tried again.
func (l *ladder) settleOpen(ctx context.Context) {
	for _, i := range l.unsettled.all() {
		unlock, ok := l.names.tryLock(volumeKey{i.Backend, i.Spec.Name})
		if !ok {
			continue // a repeated request is at it; its turn comes
		}
		for _, i := range l.unsettled.take(i.Spec.Name, func(o openIntent) bool { return o.Seq == i.Seq }) {
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
	for _, i := range l.unsettled.take(q.Volume, l.on(q.store)) {
		settled, err := q.store.backend.Settle(ctx, i.Spec)
		if err == nil && settled != backends.Whole {
			l.books.drop(i.Intent)
			continue
		}
		l.unsettled.put(i)
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
		l.unsettled.put(i)
	case settled == backends.Whole:
		l.keep(i, i.whyKept())
	default:
		l.books.drop(i.Intent)
		log.WithField("settled", settled).Info("volume in the making was settled")
	}
}

// settleOne settles an intent, and takes back a whole volume that certainly nobody was told of: where several hosts share the
// catalog, another one may have been asked for it since and have answered, so that it stays.
// backends.ErrInUse: somebody has it all the same; with backends.Whole it is whole.
func (l *ladder) settleOne(ctx context.Context, i openIntent) (backends.Settled, error) {
	b, err := l.backendOf(i.Intent)
	if err != nil {
		return 0, err
	}
	settled, err := b.Settle(ctx, i.Spec)
	if err != nil {
		return 0, err
	}
	if settled != backends.Whole || i.fate == mayStay || !l.sole {
		return settled, nil
	}
	v, err := b.StatVolume(ctx, i.Spec.Name)
	if err == nil && v.Token == i.Spec.Token {
		err = b.DeleteVolume(ctx, backends.VolumeRef{Name: v.Name, ID: v.ID})
	}
	switch {
	case errors.Is(err, backends.ErrNotExist), errors.Is(err, backends.ErrNotOurs):
		return backends.Absent, nil
	case errors.Is(err, backends.ErrExist): // a person chooses between them
		return backends.Whole, nil
	case err != nil:
		return backends.Whole, err
	}
	return backends.Removed, nil
}

// backendOf is what an intent is settled on. ErrUnknownBackend.
func (l *ladder) backendOf(i journal.Intent) (backends.Backend, error) {
	s := l.storeOf(i)
	if s == nil {
		return nil, fmt.Errorf("%w: %q is no longer configured; configure it once more so that %s can be settled", ErrUnknownBackend, i.Backend, i.Spec.Name)
	}
	return s.backend, nil
}
