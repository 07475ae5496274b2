package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// Where a control plane's own driver makes the clones, the requester is lent an image-volume: it stays until the
// requester says what became of its clone, or its time is over. See decision 25.

// LoanID names one loan, for ever.
type LoanID = catalog.LoanID

// mostTries bounds how often a loan is tried anew: each time others have filled a generation meanwhile.
const mostTries = 16

// lent answers with an image-volume that is lent, which is filled first where it is missing.
func (l *ladder) lent(ctx context.Context, q *request, _ *stepAside) (Answer, error) {
	lender, lends := backends.Capability[backends.Lender](q.store.images)
	if !lends {
		return Answer{}, fmt.Errorf("%w: backend %s lends nothing, since it makes volumes itself; ask it for a volume", ErrBadRequest, q.store.name)
	}
	return l.fromEntry(ctx, q, q.store, func(f *filled) (Answer, error) { return l.lend(ctx, q, lender, f) })
}

// lend lends the entry's image-volume, with another generation where all are full.
func (l *ladder) lend(ctx context.Context, q *request, from backends.Lender, f *filled) (Answer, error) {
	for range mostTries {
		if q.late(l.now()) {
			return Answer{}, &stepAside{reason: ReasonDeadline, detail: "too little time is left for a clone"}
		}
		what, err := from.Lend(ctx, f.entry.ImageVolume, q.Place)
		switch {
		case err == nil:
			return l.handOver(ctx, q, from, f, what)
		case errors.Is(err, backends.ErrNotExist):
			return Answer{}, fmt.Errorf("%w: %w", errVanished, err)
		case !errors.Is(err, backends.ErrLimit):
			return Answer{}, err
		}
		q.report(Progress{Phase: "filling", TotalBytes: -1})
		if err := l.stock.grown(ctx, q.store, from, f.entry); err != nil {
			return Answer{}, err
		}
	}
	return Answer{}, fmt.Errorf("lend entry %s: %w: each generation was full as soon as it was made", f.entry.ID, backends.ErrLimit)
}

// handOver notes the loan, and gives it to the requester. One that nobody takes has ended.
func (l *ladder) handOver(ctx context.Context, q *request, from backends.Lender, f *filled, what backends.Lent) (Answer, error) {
	loan, err := l.catalog.Lend(ctx, catalog.Loan{
		Entry: f.entry.ID, Store: q.store.id(), ImageVolume: f.entry.ImageVolume, Generation: what.Generation,
		LentTo: q.Volume, Place: q.Place, Host: l.holder.Instance, Lasts: q.store.cloneTime,
	}, q.lasts(l.now()))
	if err != nil {
		from.Returned(f.entry.ImageVolume, what.Generation, backends.NotMade)
		if isGone(err) {
			err = fmt.Errorf("%w: %w", errVanished, err)
		}
		return Answer{}, err
	}
	failpoint.Reached(failpoint.Lend)
	a := Answer{
		Outcome: f.role, Reason: reasonOf(f.role), MissCause: f.missed.cause, Detail: cmp.Or(f.missed.detail, q.stale()),
		Backend: q.store.name, ImageID: q.image.Ref(), EntryID: string(f.entry.ID), Volume: q.Volume, SizeBytes: q.SizeBytes,
		DownloadedBytes: f.downloaded,
		Lent:            Lent{Loan: loan.ID, Generation: what.Generation, Place: what.Place, LentUntil: &loan.Until, RenewSeconds: q.renewEvery().Seconds(), Keeps: q.Renews},
	}
	if ctx.Err() == nil && !q.overdue(l.now()) {
		_ = l.answered(q, 0, &a, f) // it ends no intent, and is logged
		if q.Deliver == nil || q.Deliver(a) == nil {
			return a, nil
		}
	}
	undo, cancel := l.cleanup(ctx)
	defer cancel()
	if err := l.stock.returned(undo, loan.ID, backends.NotMade); err != nil {
		l.log.WithFields(q.fields()).WithError(err).Warn("loan not ended; it ends by itself")
	}
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	return Answer{}, &stepAside{reason: ReasonUndelivered, detail: "nobody took the answer; the loan has ended"}
}

// lasts is how long a loan to the requester lives: until its deadline, by which it may still read the answer, and what its
// driver may need. Who renews begins before that.
func (q *request) lasts(now time.Time) time.Duration {
	if q.Deadline.IsZero() || q.Renews {
		return q.store.cloneTime
	}
	return max(q.Deadline.Sub(now), 0) + q.store.cloneTime
}

// renewEvery is how often the requester's loan is to be renewed; 0: never.
func (q *request) renewEvery() time.Duration {
	if !q.Renews {
		return 0
	}
	return q.store.cloneTime / 3
}

// LoanView is a loan as admins see it.
type LoanView struct {
	ID         LoanID                `json:"id"`
	EntryID    EntryID               `json:"entry_id"`
	Backend    backends.Name         `json:"backend"`
	Generation backends.GenerationID `json:"lent" doc:"The volume that is lent"`
	Volume     backends.VolumeName   `json:"volume" doc:"The volume that is made from it; empty where that is there, and the loan is kept for the next one"`
	Place      backends.Place        `json:"place" doc:"Where that is to be: Cinder's host@backend#pool; empty where nobody said"`
	LentAt     time.Time             `json:"lent_at"`
	LentUntil  time.Time             `json:"lent_until" doc:"When it ends by itself"`
}

// Lending is what is lent. Its methods may be called from several goroutines. CreateVolume lends, with Request.Lend.
type Lending struct {
	stock *stock
	gate  *gate
	ended <-chan struct{} // closed when the cache closes
}

// Lending is that of this cache.
func (p *Plugin) Lending() Lending { return Lending{p.stock, &p.gate, p.books.ended()} }

// Loans lists the loans that live.
func (d Lending) Loans(ctx context.Context) ([]LoanView, error) {
	all, err := d.stock.catalog.Loans(ctx)
	views := make([]LoanView, len(all))
	for i, l := range all {
		views[i] = LoanView{l.ID, l.Entry, d.stock.label(l.Store), l.Generation, l.LentTo, l.Place, l.LentAt, l.Until}
	}
	return views, err
}

// EndLoan says what became of the clone that an image-volume was lent for. Ending a loan twice, or one that has ended by
// itself, is harmless, and says nothing.
func (d Lending) EndLoan(ctx context.Context, id LoanID, how backends.Return) error {
	switch how {
	case backends.Made, backends.NotMade, backends.Full, backends.Gone:
		return d.stock.returned(ctx, id, how)
	}
	return fmt.Errorf("%w: end: %q is none of made, not_made, full, gone", ErrBadRequest, how)
}

// RenewLoan lets a loan last for the backend's clone_time from now on, or for that of when it was lent, whichever is longer: the
// requester's driver still clones, and renews as it was told then.
// catalog.ErrNoLoan: the loan has ended, and what was lent may be gone.
func (d Lending) RenewLoan(ctx context.Context, id LoanID) error {
	_, err := d.stock.catalog.RenewLoan(ctx, id, func(l catalog.Loan) time.Duration {
		if l.LentTo == "" {
			return l.Lasts // it is kept, and somebody clones from it
		}
		if s := d.stock.storeOf(l.Store); s != nil {
			return s.cloneTime
		}
		return defaultCloneTime
	})
	return err
}

// EndLoansAt ends the loans for all volumes that were to be made in a place, of a backend: whoever made them has gone, and
// makes them no more. A place without a pool stands for all of its pools. It returns how many these were. ErrBadRequest,
// ErrUnknownBackend.
func (d Lending) EndLoansAt(ctx context.Context, backend backends.Name, at backends.Place) (ended int, err error) {
	if at == "" {
		return 0, fmt.Errorf("%w: place: host@backend is needed", ErrBadRequest)
	}
	s, err := d.stock.backendNamed(backend)
	if err != nil {
		return 0, err
	}
	all, err := d.stock.catalog.Loans(ctx)
	if err != nil {
		return 0, err
	}
	for _, l := range all {
		if l.Store != s.id() || l.Place != at && l.Place.Backend() != at {
			continue
		}
		if err := d.stock.returned(ctx, l.ID, backends.NotMade); err != nil {
			return ended, err
		}
		ended++
	}
	return ended, nil
}
