package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// reconciler compares the catalog, the stores and the internal tenant's claims with one another, and mends what
// needs nobody's decision. It owns whose turn it is to do so, and whether anything was left out.
//
// It never serves a request, and never keeps one waiting: what is served goes on. It never removes what a row names,
// and concludes nothing from what a store or the tenant does not answer. Whoever mends looks once more at what was
// found. A crash leaves a mending undone, or done in part: the next survey finds the rest.
type reconciler struct {
	*house
	books    *books
	surveyor *surveyor
	stock    *stock
	fills    *fills
	ladder   *ladder
	scrubber *scrubber
	janitor  *janitor

	turn turnstile // of the one who surveys and mends
	// incomplete is when something was left out last: a store, an image-volume or the claims, which could not be read, or
	// which another host was comparing. nil: nothing was, or it was compared since.
	incomplete atomic.Pointer[time.Time]
	repeats    repeats
}

func newReconciler(h *house, b *books, k *stock, fl *fills, l *ladder) *reconciler {
	v := &surveyor{house: h, mender: &mender{house: h, books: b, stock: k}, stock: k}
	rec := &reconciler{house: h, books: b, surveyor: v, stock: k, fills: fl, ladder: l, scrubber: newScrubber(h, b, k), turn: make(turnstile, 1)}
	rec.janitor = newJanitor(h, rec)
	return rec
}

// reconcile makes catalog, backends and quota agree, as far as that needs nobody's decision.
func (rec *reconciler) reconcile(ctx context.Context) error {
	return rec.reconcileSince(ctx, rec.incomplete.Load(), 0)
}

// errLeftOut ends a reconcile that is due again: what it needed could not be compared. It is none to its caller.
var errLeftOut = errors.New("not all could be compared")

// reconcileSince reconciles what no other host has compared within every, and then what was left out at that time is not any more.
func (rec *reconciler) reconcileSince(ctx context.Context, left *time.Time, every time.Duration) error {
	err := rec.alone(ctx, every, func(ctx context.Context, in scope) error {
		if in.whole {
			rec.incomplete.CompareAndSwap(left, nil) // first: what is left out from now on is not forgotten
		} else if left == nil {
			rec.stillLeft()
		}
		return rec.reconcileAlone(ctx, in)
	})
	if rec.incomplete.Load() == nil { // whoever asked for this one, as who looks for orphans does
		rec.repeats.ended(true)
	}
	if errors.Is(err, errLeftOut) {
		return nil
	}
	return err
}

// reconcileLeft reconciles what the last time had to leave out, less and less often where something is left out each time. A
// failure is logged: the next time tries again.
func (rec *reconciler) reconcileLeft(ctx context.Context) {
	left := rec.incomplete.Load()
	if left == nil || !rec.repeats.due() {
		return
	}
	defer func() { rec.repeats.ended(rec.incomplete.Load() == nil) }()
	err := rec.reconcileSince(ctx, left, time.Since(*left))
	if err != nil && ctx.Err() == nil {
		rec.log.WithError(err).Warn("catalog, backends and quota not reconciled; trying again")
	}
}

// leftOut says that something was not compared that can be by now, as a store that has come back.
func (rec *reconciler) leftOut() {
	rec.repeats.anew()
	rec.stillLeft()
}

// back says that a store answers again: what was left out is compared by the next minute.
func (rec *reconciler) back() { rec.repeats.anew() }

// stillLeft says that something could not be compared now either.
func (rec *reconciler) stillLeft() {
	now := time.Now()
	rec.incomplete.Store(&now)
}

// reconcileAlone reconciles what is in a scope. errLeftOut: the claims did not answer, or something waits for them, for another
// mending, or for what did not answer while it was mended; no host takes that for compared.
func (rec *reconciler) reconcileAlone(ctx context.Context, in scope) error {
	findings, err := rec.surveyor.survey(ctx, in)
	if err != nil {
		rec.stillLeft()
		return err
	}
	if slices.ContainsFunc(findings, finding.incomplete) {
		rec.stillLeft()
	}
	due := slices.ContainsFunc(findings, func(f finding) bool { return f.Kind == quotaDown })
	if findings, err = rec.noteObserved(ctx, findings); err != nil {
		return err
	}
	for _, f := range findings {
		log := rec.log.WithFields(map[string]any{"backend": f.Backend, "id": f.ID, "kind": f.Kind})
		if f.fix == nil {
			log.Warn(f.Detail)
			continue
		}
		if err := rec.mend(ctx, f); err != nil {
			log.WithError(err).Error("not mended: " + f.Detail)
			due = due || passes(err)
			continue
		}
		log.Info("mended: " + f.Detail)
	}
	if due {
		rec.stillLeft()
		return errLeftOut
	}
	return nil
}

// passes tells that what could not be mended may be a moment later.
func passes(err error) bool {
	return slices.ContainsFunc([]error{ErrBusy, backends.ErrUnavailable, backends.ErrInUse, internaltenant.ErrUnavailable, catalog.ErrUnavailable},
		func(is error) bool { return errors.Is(err, is) })
}

// noteObserved notes together what was observed of entries, and returns the other findings: clones come
// and go while nobody looks, so that there may be one for each entry.
func (rec *reconciler) noteObserved(ctx context.Context, findings []finding) (others []finding, err error) {
	var observed []catalog.Observation
	for _, f := range findings {
		if f.observed != nil {
			observed = append(observed, *f.observed)
		} else {
			others = append(others, f)
		}
	}
	if len(observed) == 0 {
		return others, nil
	}
	rec.log.WithField("entries", len(observed)).Info("held bytes brought up to date")
	rec.books.note(catalog.Event{Kind: EventMended, Reason: "held-bytes", Detail: fmt.Sprintf("held bytes of %d entries brought up to date", len(observed))})
	return others, rec.catalog.Observe(ctx, observed)
}

// mend mends a finding, and notes that.
func (rec *reconciler) mend(ctx context.Context, f finding) error {
	if err := f.fix(ctx); err != nil {
		return err
	}
	if !f.noted {
		rec.books.note(catalog.Event{Kind: EventMended, Backend: f.Backend, Reason: Reason(f.Kind), Detail: f.Detail})
	}
	return nil
}
