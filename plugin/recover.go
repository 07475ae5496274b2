package plugin

import (
	"context"
	"fmt"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// recover settles what an earlier process left: answers not counted, volumes half made, fills and
// evictions in flight; then it reconciles catalog, backends and quota, and fills the view.
func (rec *reconciler) recover(ctx context.Context) error {
	if err := rec.stock.identifyStores(ctx); err != nil {
		return err
	}
	if err := rec.ladder.replay(ctx); err != nil {
		return err
	}
	if err := rec.stock.bindStores(ctx); err != nil {
		return err
	}
	rec.books.note(catalog.Event{Kind: EventStarted, Detail: "host " + rec.cfg.Host})
	abandoned, err := rec.catalog.TakeOver(ctx, rec.holder, rec.cfg.LeaseFor)
	if err != nil {
		return err
	}
	for _, e := range abandoned {
		if err := rec.endAbandoned(ctx, e); err != nil {
			rec.log.WithField("entry", e.ID).WithError(err).Warn("fill of an earlier process not ended yet; it is once its backend answers")
			rec.books.noteEntry(EventFillFailed, e, catalog.Event{Reason: "interrupted", Detail: "the daemon ended while it filled; what is left of it goes once its backend answers"})
		}
	}
	for _, s := range rec.stock.orderedStores() {
		if err := rec.stock.reapDue(ctx, s, 0); err != nil {
			rec.log.WithField("backend", s.name).WithError(err).Error("evictions of an earlier process not ended; trying again in a minute")
		}
	}
	if err := rec.reconcile(ctx); err != nil {
		return err
	}
	return rec.stock.loadView(ctx, slices.DeleteFunc(rec.stock.orderedStores(), func(s *store) bool { return !s.sure() })...)
}

// endAbandoned ends a fill that an earlier process of this host had begun. An image-volume that was
// committed is published: its content was verified before. Anything less is removed.
func (rec *reconciler) endAbandoned(ctx context.Context, e catalog.Entry) error {
	s := rec.stock.storeOf(e.Store)
	if s == nil {
		return fmt.Errorf("%w: %q is no longer configured", ErrUnknownBackend, rec.stock.label(e.Store))
	}
	if !s.sure() { // nothing is concluded from what it does not hold
		return fmt.Errorf("%w: %s has not said which store it is", backends.ErrUnavailable, s.name)
	}
	found, err := findImageVolume(ctx, s, e.ImageVolume)
	if err != nil {
		return err
	}
	if found.State == backends.Committed {
		published, err := rec.publishAbandoned(ctx, s, e, found)
		if err != nil || published {
			return err
		}
	}
	if err := rec.fills.undoAttempt(ctx, s, e); err != nil {
		return err
	}
	if err := rec.catalog.ForgetFill(ctx, e.ID, e.Attempt); err != nil {
		return err
	}
	rec.books.noteEntry(EventFillFailed, e, catalog.Event{Reason: "interrupted", Detail: "the daemon ended while it filled; what it had made is removed, or a detached entry until it can be"})
	return nil
}

// publishAbandoned makes the row ready; false where other content of that key won.
func (rec *reconciler) publishAbandoned(ctx context.Context, s *store, e catalog.Entry, iv backends.ImageVolume) (bool, error) {
	d := iv.Description
	if d.EntryID != e.ID || d.Attempt != e.Attempt || d.Digest == "" {
		return false, nil
	}
	_, duplicate, err := rec.catalog.Publish(ctx, e.ID, e.Attempt, catalog.Published{
		Key: d.ContentKey, Also: provenBy(d), Content: contentOf(iv), HeldBytes: iv.HeldBytes,
		Sharing: s.sharing(),
	})
	if err != nil || duplicate != nil {
		return false, err
	}
	rec.books.noteEntry(EventFilled, e, catalog.Event{Bytes: iv.HeldBytes, Detail: "the daemon ended before it was named; it was whole"})
	return true, nil
}
