package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// What a fill that came to nothing leaves: whoever undoes it must know first that the row names nothing of it.

// settleClaim turns the reserved claim into one in use. The image-volume is ready: a failure is logged,
// and mended by the next reconcile.
func (w *filling) settleClaim(ctx context.Context) {
	if err := w.berth.settle(context.WithoutCancel(ctx)); err != nil {
		w.fl.log.WithFields(w.want.fields(w.store)).WithError(err).Warn("quota claim stays reserved until the next reconcile")
		w.fl.stock.leftOut()
	}
}

// undo removes what a fill that came to nothing has made. What cannot be removed now, or may be wanted after all, keeps its
// row, and the next reconcile, which is asked for, decides.
func (w *filling) undo(ctx context.Context, cause error) {
	ctx, cancel := w.fl.cleanup(ctx)
	defer cancel()
	if w.stage != nil {
		w.flight.tide.end()
	}
	lost := errors.Is(cause, catalog.ErrLost)
	if w.asked && !lost && !errors.Is(cause, errDuplicate) {
		err := w.fl.certain(ctx, w.entry)
		if lost = errors.Is(err, catalog.ErrLost); err != nil && !lost {
			w.left(err, "it is not known whether an image-volume has become ready; the next reconcile finds out")
			return
		}
	}
	if !lost {
		w.undoHeld(ctx, cause)
		return
	}
	if err := w.undoLost(ctx); err != nil {
		w.left(err, "what a fill had made that was taken over is not all removed; the next reconcile removes it")
	}
}

// certain makes certain that a row of this process is not ready, and cannot become so any more by what its attempt has
// asked for: a COMMIT whose answer was lost may have happened, or happen yet. It changes the row, which is refused after that
// COMMIT, and after which that one is refused. catalog.ErrLost: the row is ready, or another process's.
func (fl *fills) certain(ctx context.Context, e catalog.Entry) error {
	if fl.sole { // whether it has happened is always known
		return nil
	}
	if err := fl.catalogAway(); err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, certainWithin)
	defer cancel()
	err := fl.catalog.Renew(asking, e.ID, e.Attempt, fl.holder, fl.cfg.LeaseFor, catalog.FillProgress{})
	if err != nil && ctx.Err() == nil {
		fl.noteCatalog(err)
	}
	return err
}

// certainWithin is how long the catalog may take to say what became of a row. It has been asked for it before.
const certainWithin = 10 * time.Second

// left says what is left for the next reconcile, and asks for one.
func (w *filling) left(err error, what string) {
	w.fl.log.WithFields(w.want.fields(w.store)).WithField("attempt", w.entry.Attempt).WithError(err).Warn(what)
	w.fl.stock.leftOut()
}

// undoHeld undoes a fill whose row is still its own, in the reverse order: the image-volume, the claim, the row.
func (w *filling) undoHeld(ctx context.Context, cause error) {
	kept := false // the claim is another row's
	if w.stage != nil {
		if err := w.stage.Discard(ctx); err != nil {
			w.left(err, "image-volume not discarded; the next reconcile removes it")
			return
		}
		var err error
		if kept, err = w.fl.stock.retireAttempt(ctx, w.store, w.entry.ImageVolume, w.berth.claim.ID); err != nil {
			w.left(err, "image-volume not removed; the next reconcile removes it")
			return
		}
	}
	if !kept {
		if err := w.berth.release(ctx); err != nil {
			w.left(err, "quota claim not released; the next reconcile releases it")
			return
		}
	}
	if err := w.endRow(ctx, cause); err != nil {
		w.left(err, "row of a fill not ended; it is in a minute")
	}
}

// undoLost removes what a fill had made whose row is another process's now, or gone: its image-volume and its claim, which bear this
// attempt, unless the row names them after all. Then they are the ready entry's.
func (w *filling) undoLost(ctx context.Context) error {
	var discarded error
	if w.stage != nil {
		discarded = w.stage.Discard(ctx)
	}
	if err := w.fl.catalogAway(); err != nil {
		return errors.Join(discarded, err)
	}
	now, err := w.fl.catalog.Get(ctx, w.entry.ID)
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return errors.Join(discarded, err)
	}
	if now.State == catalog.Ready && now.ImageVolume == w.entry.ImageVolume {
		w.settleClaim(ctx)
	}
	var kept bool
	if w.stage != nil && now.ImageVolume != w.entry.ImageVolume { // it may have been committed
		if kept, err = w.fl.stock.retireAttempt(ctx, w.store, w.entry.ImageVolume, w.berth.claim.ID); err != nil {
			return errors.Join(discarded, err)
		}
	}
	if w.berth.claim.ID == now.Claim || kept {
		return discarded
	}
	return errors.Join(discarded, w.berth.release(ctx))
}

// endRow keeps the error of an image or its source in the row, for people to see; all other rows go. So does that of an
// image which nobody finds again, since each look at it is told apart.
func (w *filling) endRow(ctx context.Context, cause error) error {
	if cachesFault(cause) || errors.Is(cause, errDuplicate) || errors.Is(cause, context.Canceled) || errors.Is(cause, ErrTooSmall) || w.want.foundOnce() {
		return w.fl.catalog.ForgetFill(ctx, w.entry.ID, w.entry.Attempt)
	}
	return w.fl.catalog.FailFill(ctx, w.entry.ID, w.entry.Attempt, w.fl.failedBy(cause))
}
