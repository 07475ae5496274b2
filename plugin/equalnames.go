package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/journal"
)

// Where nothing keeps two volumes from having one name (backends.Info.EqualNames), two hosts that are asked for one at once would
// make two. So whoever makes one there, or answers with one, has the duty of its name. A host that was stopped in it may
// make its volume after another one has had its turn: it asks whether it still has the duty once its volume is there,
// and before anybody is told. If not, it takes the duty again and looks: where there is another volume of that name, its own
// goes. A host that is killed keeps others from the name for a lease, and leaves what its journal says.

// nameDuty is the duty of the request's volume's name; its zero value: the backend needs none, or nobody has it now.
type nameDuty struct {
	still  func(context.Context) error // whether it is held; nil: there is none
	answer func(context.Context) error // is still before somebody is told of an offer
	late   *lateVolume
}

// lateVolume was made under a duty that was lost meanwhile.
type lateVolume struct {
	intent journal.Intent
	backends.Volume
}

// errLate: the volume is there, and the duty of its name was lost meanwhile.
var errLate = errors.New("another host may have made a volume of that name meanwhile")

// byName does what makes a volume of the request's name, or answers with it, while no other host does. Where names are unique, or
// nobody else has the catalog, it costs nothing. catalog.ErrUnavailable: nobody can tell.
func (l *ladder) byName(ctx context.Context, q *request, do func() error) error {
	if !l.takesTurns(q) {
		return do()
	}
	for {
		err := l.onName(ctx, q, do)
		if !errors.Is(err, errLate) {
			return err
		}
		l.log.WithFields(q.fields()).Warn("volume made after its host was held up for longer than its lease; looking whether there is another one of that name")
	}
}

// takesTurns tells whether hosts take turns at the name of the request's volume.
func (l *ladder) takesTurns(q *request) bool {
	return !l.sole && !q.Lend && q.store.images.Info().EqualNames
}

// makeOf is the duty of the request's volume's name.
func makeOf(q *request) dutyWanted {
	return dutyWanted{duty: catalog.DutyMake, store: q.store.id(), volume: q.Volume}
}

// onName is byName until the duty is lost: errLate.
func (l *ladder) onName(ctx context.Context, q *request, do func() error) error {
	if err := l.catalogAway(); err != nil {
		return err
	}
	want := makeOf(q)
	lease, err := l.awaitLease(ctx, want)
	if err != nil {
		return err
	}
	q.before.onTurn(lease)
	return l.underLease(ctx, want, lease, func(held context.Context) error {
		by := func(renew func(context.Context, catalog.DutyLease, time.Duration) error) func(context.Context) error {
			return func(ctx context.Context) error {
				if cause := context.Cause(held); errors.Is(cause, catalog.ErrLost) {
					return cause
				}
				asking, cancel := l.cleanup(ctx)
				defer cancel()
				return renew(asking, lease, l.cfg.LeaseFor)
			}
		}
		q.duty.still, q.duty.answer = by(l.catalog.RenewDuty), by(l.catalog.AnswerDuty)
		defer func() { q.duty.still, q.duty.answer = nil, nil }()
		if err := l.yield(ctx, q); err != nil {
			return err
		}
		return do()
	})
}

// awaitLease takes a duty once it is free.
func (l *ladder) awaitLease(ctx context.Context, want dutyWanted) (catalog.DutyLease, error) {
	var pause backoff
	for {
		lease, start, err := l.takeDuty(ctx, want)
		if err != nil || start == catalog.OnDuty {
			return lease, err
		}
		if err := pause.wait(ctx); err != nil {
			return catalog.DutyLease{}, err
		}
	}
}

// stillOn makes certain that no other host has had the name's turn since this one began. catalog.ErrLost, catalog.ErrUnavailable.
func (*ladder) stillOn(ctx context.Context, q *request) error {
	if q.duty.still == nil {
		return nil
	}
	return q.duty.still(ctx)
}

// tooLate keeps a volume for which another host may have taken over meanwhile, as why says: it may have told somebody of it. errLate:
// whether it made one too can be found out.
func (l *ladder) tooLate(q *request, intent journal.Intent, v backends.Volume, why error) error {
	l.unsettled.add(mayStay, intent)
	if !errors.Is(why, catalog.ErrLost) {
		return fmt.Errorf("ask whether %s is still this host's alone to make: %w", v.Name, why)
	}
	q.duty.late = &lateVolume{intent: intent, Volume: v}
	return errLate
}

// yield removes the volume that the request has made too late, if there is another one of its name. Whoever has had the name's turn
// since has found this one, or made that one. backends.ErrUnavailable.
func (l *ladder) yield(ctx context.Context, q *request) error {
	late := q.duty.late
	if late == nil {
		return nil
	}
	another := false
	for v, err := range q.store.backend.ListVolumes(ctx) {
		if err != nil {
			return err
		}
		another = another || v.Name == q.Volume && v.ID != late.ID
	}
	q.duty.late = nil
	if !another {
		return nil // as a repeated request, this one finds it
	}
	l.unsettled.take(q.Volume, func(i openIntent) bool { return i.Seq == late.intent.Seq })
	l.log.WithFields(q.fields()).Warn("another host has made the volume meanwhile; the second one " + l.remove(ctx, q, late.intent, late.Volume, nil))
	return nil
}

// severalOfName is ErrConflict: nobody can tell which one is meant.
func severalOfName(s *store, name backends.VolumeName, err error) error {
	return fmt.Errorf("%w: %s has several volumes that are called %s; delete those that nobody needs by their own IDs, or choose another name: %w", ErrConflict, s.name, name, err)
}
