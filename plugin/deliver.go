package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/journal"
)

// An answer is noted in the journal before it is handed to the requester, never after: so an intent that
// is still open, in a journal of which nothing is missing, says for certain that nobody was told of its
// volume. A process that dies between the note and the last byte of the answer leaves a volume of which its
// requester may know; it stays.

// made is the point of no return: the volume exists. What goes wrong from here on is logged and never
// returned, but for a caller who no longer listens: it gets no volume, by the backend's own ID.
func (l *ladder) made(ctx context.Context, q *request, intent journal.Intent, v backends.Volume, a Answer, f *filled) (Answer, error) {
	if err := l.stillOn(ctx, q); err != nil {
		return Answer{}, l.tooLate(q, intent, v, err)
	}
	offer, err := l.offer(ctx, q, v)
	if ctx.Err() != nil || q.overdue(l.now()) {
		return l.unmake(ctx, q, intent, v, offer)
	}
	if errors.Is(err, ErrOffered) || q.Transfer && errors.Is(err, backends.ErrNotExist) {
		l.books.drop(intent) // another request has found the volume, and was told of it, or has removed it
		return Answer{}, fmt.Errorf("%w: %w", ErrOffered, err)
	}
	if err != nil {
		l.log.WithFields(q.fields()).WithError(err).Warn("volume not offered to another project; it " + l.remove(ctx, q, intent, v, offer))
		return Answer{}, err
	}
	if err := l.stillOffered(ctx, q, offer); err != nil {
		return Answer{}, l.tooLate(q, intent, v, err)
	}
	// ── point of no return ──
	a.Backend, a.ImageID, a.Volume, a.VolumeID = q.store.name, q.image.Ref(), v.Name, v.ID
	a.Path, a.SizeBytes, a.Rounded, a.Transfer = v.Path, v.SizeBytes, q.rounded(v, f), offer
	err = l.answered(q, intent.Seq, &a, f)
	if err != nil && fateIfWhole(intent) == mustGo { // after a kill it would go, whoever was told of it
		_, _ = l.unmake(ctx, q, intent, v, offer)
		return Answer{}, &stepAside{reason: ReasonCacheError, cause: err}
	}
	if q.Deliver == nil {
		return a, nil
	}
	if err := q.Deliver(a); err != nil {
		l.log.WithFields(q.fields()).WithError(err).Warn("answer not delivered; its volume is removed again")
		return l.takeBack(ctx, q, intent, v, offer)
	}
	return a, nil
}

// takeBack removes a volume whose answer was noted and then reached nobody. A new intent goes first, so
// that the removal is ended after a crash.
func (l *ladder) takeBack(ctx context.Context, q *request, made journal.Intent, v backends.Volume, offer *backends.Offer) (Answer, error) {
	undo, err := l.intend(q, made.Op, made.Spec)
	if err != nil {
		l.log.WithFields(q.fields()).WithError(err).Warn("removal not noted; a crash now leaves the volume")
	}
	became := l.remove(ctx, q, undo, v, offer)
	return Answer{}, &stepAside{reason: ReasonUndelivered, detail: "nobody took the answer; the volume " + became}
}

// unmake removes a volume whose requester has gone or whose deadline has passed.
func (l *ladder) unmake(ctx context.Context, q *request, intent journal.Intent, v backends.Volume, offer *backends.Offer) (Answer, error) {
	became := l.remove(ctx, q, intent, v, offer)
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	return Answer{}, &stepAside{reason: ReasonDeadline, detail: "the volume was made after the deadline and " + became}
}

// remove takes back a volume that nobody was told of, and says what became of it. Where somebody has it all
// the same, it stays; where the backend does not answer, its intent stays open, and it is tried again.
func (l *ladder) remove(ctx context.Context, q *request, intent journal.Intent, v backends.Volume, offer *backends.Offer) (became string) {
	undo, cancel := l.cleanup(ctx)
	defer cancel()
	log := l.log.WithFields(q.fields())
	err := l.discard(undo, q, v, offer)
	switch {
	case errors.Is(err, backends.ErrInUse):
		l.keep(openIntent{Intent: intent, fate: mayStay}, journal.InUse)
		return "stays: somebody has it already"
	case err != nil && !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrNotOurs): // others have it, or removed it
		log.WithError(err).Error("volume made too late and not removed; trying again")
		l.unsettled.add(mustGo, intent)
		return "is removed again once its backend answers"
	}
	log.Info("volume made too late was removed")
	l.books.drop(intent)
	return "was removed again"
}
