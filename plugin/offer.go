package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// A volume that is to be transferred is offered before its answer is noted: as long as nobody was told of the key, nobody can have
// accepted it, and it may be removed as any other.

// transfers tells whether the request's backend can do what it asks for. ErrBadRequest.
func (q *request) transfers() error {
	switch _, can := backends.Capability[backends.Offerer](q.store.backend); {
	case !q.Transfer:
		return nil
	case q.Lend:
		return fmt.Errorf("%w: transfer: whoever borrows an image-volume makes the volume itself, in the project that it belongs to", ErrBadRequest)
	case !can && q.store.down() == nil:
		return fmt.Errorf("%w: transfer: volumes on %s belong to no project; leave it out, or ask a backend of kind cinder", ErrBadRequest, q.store.name)
	}
	return nil
}

// earlierOffer is what the volume's name had when the request came: who asks again has not had the answer that told of it. One that
// was made since, or whose request is not answered yet, is told to somebody else, perhaps by another host, and stays.
type earlierOffer struct {
	looked, seen bool
	id           string   // "": there was none, or it is not known
	untold       string   // the offer of a host that has the name's turn: it is an earlier one if that host dies before it tells of it
	here         onlooker // of the turns of the name on this host
}

// seeOffer notes which offer the request may take the place of, once. One that is found by a later look than the first may have been
// made since, and told to somebody: it is nobody's to replace, but for who asks after that. So it is with one that is found while
// somebody has the name's turn. backends.ErrUnavailable.
func (l *ladder) seeOffer(ctx context.Context, q *request) error {
	if !q.Transfer || q.before.seen {
		return nil
	}
	first := !q.before.looked
	q.before.looked = true
	offerer, err := q.offerer()
	if err != nil {
		return err
	}
	answering := l.answeredElsewhere(ctx, q)
	id, err := offerer.Offered(ctx, q.Volume)
	if err != nil {
		return err
	}
	answering = answering || id != "" && l.answeredElsewhere(ctx, q) // it may have begun meanwhile
	q.before.seen = true
	switch {
	case !first || q.before.here.met():
	case answering:
		q.before.untold = id
	default:
		q.before.id = id
	}
	return nil
}

// answeredElsewhere tells whether another host makes, or answers with, the volume of the request's name, as far as the catalog says.
func (l *ladder) answeredElsewhere(ctx context.Context, q *request) bool {
	if !l.takesTurns(q) {
		return false
	}
	if l.catalogAway() != nil {
		return true
	}
	elsewhere, err := l.catalog.DutyElsewhere(ctx, l.specOf(makeOf(q)))
	return elsewhere || err != nil
}

// onTurn notes that the request has the name's turn: whose offer was untold has told of it by now, but for a host that died before that.
func (o *earlierOffer) onTurn(lease catalog.DutyLease) {
	if lease.Left {
		o.id = cmp.Or(o.id, o.untold)
	}
	o.untold = ""
}

func (q *request) offerer() (backends.Offerer, error) {
	offerer, can := backends.Capability[backends.Offerer](q.store.backend)
	if !can {
		return nil, fmt.Errorf("offer volume %s: %w", q.Volume, backends.ErrUnavailable)
	}
	return offerer, nil
}

// offer lets another project take the volume over, where the request asks for it. What an earlier offer of it said is void.
// ErrConflict: it is attached. ErrOffered. backends.ErrNotExist: somebody has taken it over.
func (l *ladder) offer(ctx context.Context, q *request, v backends.Volume) (*backends.Offer, error) {
	if !q.Transfer {
		return nil, nil
	}
	offerer, err := q.offerer()
	if err != nil {
		return nil, err
	}
	offer, err := offerer.Offer(ctx, backends.VolumeRef{Name: v.Name, ID: v.ID}, q.before.id)
	l.stock.reached(q.store, err)
	switch {
	case errors.Is(err, backends.ErrInUse):
		err = fmt.Errorf("%w: %s on %s is attached, and cannot be transferred; detach it first: %w", ErrConflict, v.Name, q.store.name, err)
	case errors.Is(err, backends.ErrExist):
		err = fmt.Errorf("%w: %w", ErrOffered, err)
	}
	if err != nil {
		return nil, err
	}
	failpoint.Reached(failpoint.Offer)
	return &offer, nil
}

// stillOffered makes certain, before anybody is told of an offer, that no other host has had the name's turn since, and has made its key
// void; whoever dies from here on may have told somebody. The request may take the place of its own offer, of which it tells nobody where
// this fails. catalog.ErrLost, catalog.ErrUnavailable.
func (*ladder) stillOffered(ctx context.Context, q *request, offer *backends.Offer) error {
	if offer == nil || q.duty.answer == nil {
		return nil
	}
	err := q.duty.answer(ctx)
	if err != nil {
		q.before.id, q.before.untold = offer.ID, ""
	}
	return err
}

// discard removes a volume that the request has made. One that another host may have offered since stays: backends.ErrInUse.
func (l *ladder) discard(ctx context.Context, q *request, v backends.Volume, offer *backends.Offer) error {
	if err := l.stillOn(ctx, q); errors.Is(err, catalog.ErrLost) {
		return fmt.Errorf("%w: %w", backends.ErrInUse, err)
	} else if err != nil {
		return err
	}
	ref := backends.VolumeRef{Name: v.Name, ID: v.ID}
	if !q.Transfer || l.sole && offer == nil { // the request's own offer, whose answer was lost, goes with it
		return q.store.backend.DeleteVolume(ctx, ref)
	}
	offerer, err := q.offerer()
	if err != nil {
		return err
	}
	id := ""
	if offer != nil {
		id = offer.ID
	}
	return offerer.TakeBack(ctx, ref, id)
}
