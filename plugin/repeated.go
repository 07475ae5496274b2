package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// alreadyMade answers a repeated request: the volume is there, complete, of the same image and size. One that is not complete yet, or a
// different volume of that name is ErrConflict; made is false where there is none, or where one was left half made and is removed.
func (l *ladder) alreadyMade(ctx context.Context, q *request) (answer Answer, made bool, err error) {
	v, err := q.store.backend.StatVolume(ctx, q.Volume)
	l.stock.reached(q.store, err)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		return Answer{}, false, nil
	case errors.Is(err, backends.ErrNotOurs):
		return Answer{}, false, l.nameTaken(ctx, q)
	case errors.Is(err, backends.ErrExist):
		return Answer{}, false, severalOfName(q.store, q.Volume, err)
	case err != nil:
		return Answer{}, false, err
	}
	same := q.SizeBytes == 0 || backends.RoundUp(v.SizeBytes) == q.SizeBytes
	if same {
		if same, err = l.sameContent(ctx, q, v.Origin); err != nil {
			return Answer{}, false, err
		}
	}
	if !same {
		return Answer{}, false, fmt.Errorf("%w: %s on %s is %d bytes of %s; choose another name, or delete it first", ErrConflict, q.Volume, q.store.name, v.SizeBytes, v.Origin.ImageID)
	}
	if !v.Complete {
		return Answer{}, false, fmt.Errorf("%w: %s on %s is not whole: it is being made for another request; repeat this one in a while, and delete it if it stays so", ErrConflict, q.Volume, q.store.name)
	}
	offer, err := l.offer(ctx, q, v)
	if errors.Is(err, backends.ErrNotExist) { // somebody has accepted it, or it was taken back
		return Answer{}, false, nil
	}
	if err == nil {
		err = l.stillOffered(ctx, q, offer)
	}
	if errors.Is(err, catalog.ErrLost) {
		return Answer{}, false, errLate
	}
	if err != nil {
		return Answer{}, false, err
	}
	a := Answer{
		Outcome: Hit, Reason: ReasonRepeated, Transfer: offer, Backend: q.store.name, ImageID: q.image.Ref(), EntryID: string(v.Origin.EntryID),
		Volume: v.Name, VolumeID: v.ID, Path: v.Path, SizeBytes: v.SizeBytes, Rounded: q.rounded(v, nil),
	}
	open, known := l.end(q.store, v)
	if err := l.answered(q, open.Seq, &a, nil); err != nil && known && open.fate == mustGo {
		l.unsettled.put(open)
		return Answer{}, false, fmt.Errorf("note that %s is wanted: %w", q.Volume, err)
	}
	if offer == nil || q.Deliver == nil {
		return a, true, nil
	}
	if err := q.Deliver(a); err != nil { // nobody has this key, but somebody may know of the volume
		l.log.WithFields(q.fields()).WithError(err).Warn("answer not delivered; its volume is offered anew to who repeats the request")
		return Answer{}, false, &stepAside{reason: ReasonUndelivered, detail: "nobody took the answer; the volume stays, and repeating the request offers it anew"}
	}
	return a, true, nil
}

// nameTaken is ErrConflict: what has the volume's name says nothing of us. Where it was left half made, it is removed,
// and the name is free: nil.
func (l *ladder) nameTaken(ctx context.Context, q *request) error {
	if removed, err := l.endHalfMade(ctx, q); err != nil || removed {
		return err
	}
	return fmt.Errorf("%w: %s on %s was not made by clonecache; choose another name", ErrConflict, q.Volume, q.store.name)
}

// endHalfMade removes what a process of ours that died left half made under the volume's name, and of which the journal
// no longer knows, as after a loss of power: the backend can still tell. backends.ErrUnavailable: not yet.
func (l *ladder) endHalfMade(ctx context.Context, q *request) (removed bool, err error) {
	settled, err := q.store.backend.Settle(ctx, backends.VolumeSpec{Name: q.Volume, SizeBytes: q.SizeBytes})
	switch {
	case errors.Is(err, backends.ErrUnavailable):
		return false, err
	case err != nil || settled != backends.Removed:
		return false, nil //nolint:nilerr // it is somebody else's
	}
	l.log.WithFields(q.fields()).Info("what an earlier process left half made under the volume's name is removed; the journal no longer knew of it")
	return true, nil
}

// sameContent tells whether a volume was made from the content that the request asks for.
func (l *ladder) sameContent(ctx context.Context, q *request, o backends.Origin) (bool, error) {
	if o.LookupKey == q.key || q.sameDigest(o) {
		return true, nil
	}
	if e, ok := q.store.find(&q.wanted); ok || l.sole {
		return ok && o.ContentKey == e.Key, nil
	}
	return l.sameElsewhere(ctx, q, o)
}

// sameElsewhere is sameContent by the catalog: another host may have read the image, of which the view here knows nothing.
func (l *ladder) sameElsewhere(ctx context.Context, q *request, o backends.Origin) (bool, error) {
	for _, key := range []catalog.Key{q.key, q.reading} {
		e, err := l.catalog.Find(ctx, q.store.id(), q.image.Domain, key)
		switch {
		case errors.Is(err, catalog.ErrNotFound):
		case err != nil:
			return false, err
		case e.State == catalog.Ready && e.Key == o.ContentKey && (q.expected.IsZero() || e.Digest == q.expected.String()):
			return true, nil
		}
	}
	return false, nil
}

// sameDigest tells whether a volume was made from this very image, with the digest that it has now.
func (q *request) sameDigest(o backends.Origin) bool {
	return o.ImageID == q.image.Ref() && !q.image.Digest.IsZero() && o.ContentKey.OfDigest(q.image.Digest.String())
}
