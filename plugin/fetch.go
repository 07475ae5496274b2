package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// An image's bytes may be wanted ahead of who downloads them. What the cache's own account may read waits in the queue, as
// volumes' images do; what only the requester may read is read by the requester's token, which is never stored.

// Fetch has an image's bytes kept, in the background. Where the source's own account may have the image it is queued: that
// outlives a restart, and is this file cache's even where other daemons have the catalog too. Else it is read at once by the
// requester's right, and is not known after a restart. What neither may see is queued, and fails there.
//
// ErrNotKept: it cannot be kept; ErrUnknownBackend; the errors of imagesource; catalog.ErrUnavailable; ErrStopping.
func (o Bytes) Fetch(ctx context.Context, r BytesRequest) error {
	leave, ok := o.gate.enter()
	if !ok {
		return ErrStopping
	}
	defer leave()
	s, err := o.cacheNamed(ctx, r.Cache)
	if err != nil {
		return err
	}
	own := r
	own.Token = ""
	want, err := o.wanted(ctx, own)
	switch {
	case err == nil:
		return o.queueBytes(ctx, s, want, r)
	case r.Fetch == FetchSparingly:
		return err
	case errors.Is(err, imagesource.ErrNotActive):
		return o.queue.addBytes(ctx, s, r.Image, 0)
	case errors.Is(err, ErrNotKept) || r.Token == "":
		return err
	}
	theirs, refused := o.wanted(ctx, r)
	switch {
	case refused == nil:
		return o.fetchNow(ctx, s, theirs, r.Token)
	case errors.Is(err, imagesource.ErrNotFound) && errors.Is(refused, imagesource.ErrNotFound):
		return o.queue.addBytes(ctx, s, r.Image, 0)
	}
	return refused
}

// queueBytes queues what is not kept yet.
func (o Bytes) queueBytes(ctx context.Context, s *store, want *wanted, r BytesRequest) error {
	if _, ok := s.find(want); ok {
		return nil
	}
	if err := o.keepable(s, want); err != nil {
		return err
	}
	if r.Fetch != FetchSparingly {
		return o.queue.addBytes(ctx, s, r.Image, 0)
	}
	if o.fills.fetches(s, want) {
		return nil
	}
	if err := o.spare(s, want, true); err != nil {
		return err
	}
	return o.queue.addBytes(ctx, s, r.Image, -maxPriority)
}

// fetchNow begins to read what is not kept yet.
func (o Bytes) fetchNow(ctx context.Context, s *store, want *wanted, token imagesource.Token) error {
	if _, ok := s.find(want); ok {
		return nil
	}
	if err := o.keepable(s, want); err != nil {
		return err
	}
	_, err := o.fills.fillShared(ctx, *want, s, &waiter{token: token, background: true})
	if why, aside := steppedAside(err); aside && why.reason == ReasonFilling {
		return nil
	}
	return err
}

// addBytes queues an image's bytes for a file cache.
func (q *queue) addBytes(ctx context.Context, s *store, ref string, priority int) error {
	images, err := q.resolved(ctx, []string{ref})
	if err != nil {
		return err
	}
	if _, err := q.catalog.Enqueue(ctx, []catalog.QueueSpec{{Store: s.id(), Image: images[0], Form: backends.Source, Priority: priority}}); err != nil {
		return err
	}
	q.poke()
	return nil
}

// bytesFirst are the rows of one image, those first from which the others can be read.
func bytesFirst(a, b catalog.Queued) int {
	return oneIfBytes(b) - oneIfBytes(a)
}

func oneIfBytes(row catalog.Queued) int {
	if row.Form == backends.Source {
		return 1
	}
	return 0
}

// describedWhole refuses to keep the bytes of what is not described in full, so that they could not be checked. ErrNotKept.
func (w *wanted) describedWhole() error {
	if w.promised.IsZero() || w.listed() || w.image.SizeBytes <= 0 || !w.image.StaleSince.IsZero() {
		return fmt.Errorf("%w: the source tells no size and digest of %s, or does not answer", ErrNotKept, w.image.Ref())
	}
	return nil
}
