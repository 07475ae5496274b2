package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
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

// offer lets another project take the volume over, where the request asks for it. What an earlier offer of it said is void.
func (l *ladder) offer(ctx context.Context, q *request, v backends.Volume) (*backends.Offer, error) {
	if !q.Transfer {
		return nil, nil
	}
	offerer, can := backends.Capability[backends.Offerer](q.store.backend)
	if !can {
		return nil, fmt.Errorf("offer volume %s: %w", v.Name, backends.ErrUnavailable)
	}
	offer, err := offerer.Offer(ctx, backends.VolumeRef{Name: v.Name, ID: v.ID})
	l.stock.reached(q.store, err)
	if errors.Is(err, backends.ErrInUse) {
		err = fmt.Errorf("%w: %s on %s is attached, and cannot be transferred; detach it first: %w", ErrConflict, v.Name, q.store.name, err)
	}
	if err != nil {
		return nil, err
	}
	return &offer, nil
}
