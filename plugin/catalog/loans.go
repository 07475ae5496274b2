package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/backends"
)

// LoanID names one loan, for ever.
type LoanID string

// ErrNoLoan: there is no such loan, or it has ended, by whatever way.
var ErrNoLoan = errors.New("no such loan")

// Loan is an image-volume that somebody makes a clone of by itself. Nobody retires it while the loan lives.
type Loan struct {
	ID          LoanID
	Entry       EntryID
	Store       backends.StoreID
	ImageVolume backends.ImageVolumeID
	Generation  backends.GenerationID // the volume that is lent
	LentTo      backends.VolumeName   // what is to be made; "": that is there, and the loan is kept for the next one
	Place       backends.Place        // where; "" not known
	Host        InstanceID            // the daemon that lent it
	LentAt      time.Time
	Until       time.Time // when it ends by itself, by the database's clock
	// Lasts is for how long each renewal counts, at least: what who has it was told. 0: nothing was.
	Lasts time.Duration
}

const (
	loanColumns = `id, entry_id, store, image_volume, generation, lent_to, place, host, lent_at, until_at, lasts`
	insertLoan  = `INSERT INTO loans (` + loanColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	deleteLoan  = `DELETE FROM loans WHERE id = ?`
	selectLoan  = `SELECT ` + loanColumns + ` FROM loans WHERE id = ?`
	selectLoans = `SELECT ` + loanColumns + ` FROM loans WHERE until_at > ? ORDER BY id`
	loansOf     = `SELECT COUNT(*) FROM loans WHERE entry_id = ? AND until_at > ?`
	renewLoan   = `UPDATE loans SET until_at = ? WHERE id = ? AND until_at > ?`
	loansAtWork = `SELECT COUNT(*) FROM loans WHERE entry_id = ? AND until_at > ? AND lent_to <> ''`
	keepLoan    = `UPDATE loans SET lent_to = '', until_at = ?, lasts = ? WHERE id = ? AND until_at > ?`
	expireKept  = `DELETE FROM loans WHERE until_at <= ? AND lent_to = ''`
	expireLoans = `DELETE FROM loans WHERE until_at <= ?`
)

// Lend notes a loan of a ready entry, for so long from now. It is noted, and committed, before the entry is looked at:
// an eviction makes its entry evicting before it looks at the loans, so that one of the two sees the other, and neither
// locks what the other one needs. A process that dies in between leaves a loan that ends by itself. ErrLost: the entry
// does not serve, or has another image-volume; there is no loan then.
func (c *Catalog) Lend(ctx context.Context, l Loan, lasts time.Duration) (Loan, error) {
	op := fmt.Sprintf("lend entry %s to volume %s", l.Entry, l.LentTo)
	l.ID = LoanID(uuid.Must(uuid.NewV7()).String())
	err := c.write(ctx, op, func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		l.LentAt, l.Until = now, now.Add(lasts)
		return t.change(ctx, insertLoan, l.ID, l.Entry, l.Store, l.ImageVolume, l.Generation, l.LentTo, l.Place, l.Host, micros(l.LentAt), micros(l.Until), l.Lasts.Microseconds())
	})
	if err != nil {
		return Loan{}, err
	}
	e, err := c.Get(ctx, l.Entry)
	if err == nil && e.Serves() && e.ImageVolume == l.ImageVolume {
		return l, nil
	}
	if err == nil || errors.Is(err, ErrNotFound) {
		err = c.wrap(op, ErrLost)
	}
	_, undone := c.EndLoan(context.WithoutCancel(ctx), l.ID)
	if errors.Is(undone, ErrNotFound) {
		undone = nil
	}
	return Loan{}, errors.Join(err, undone)
}

// EndLoan ends a loan, and returns it as it was. ErrNotFound: it has ended already.
func (c *Catalog) EndLoan(ctx context.Context, id LoanID) (Loan, error) {
	var l Loan
	err := c.write(ctx, fmt.Sprintf("end loan %s", id), func(t tx) (err error) {
		if l, err = scanLoan(t.row(ctx, selectLoan, id)); err != nil {
			return err
		}
		return t.stillThat(ctx, deleteLoan, id)
	})
	if err != nil {
		return Loan{}, err
	}
	return l, nil
}

// RenewLoan lets a loan that lives end by itself so long from now, as lasts says of it, or as the loan says where that is longer:
// whoever has it relies on that. It may end earlier than before so; one that says nothing of it does not. It returns the loan as it is then. ErrNoLoan: it has ended, and what was lent may be gone.
func (c *Catalog) RenewLoan(ctx context.Context, id LoanID, lasts func(Loan) time.Duration) (Loan, error) {
	var l Loan
	err := c.write(ctx, fmt.Sprintf("renew loan %s", id), func(t tx) (err error) {
		if l, err = scanLoan(t.row(ctx, selectLoan, id)); err != nil {
			return err
		}
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if until := now.Add(max(lasts(l), l.Lasts)); l.Lasts > 0 || until.After(l.Until) {
			l.Until = until
		}
		return t.change(ctx, renewLoan, micros(l.Until), id, micros(now))
	})
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost) {
		err = fmt.Errorf("renew loan %s: %w", id, ErrNoLoan)
	}
	if err != nil {
		return Loan{}, err
	}
	return l, nil
}

// KeepLoan notes that the volume of a loan that lives is there, and that what was lent stays lent, to nobody, for so long from
// now. As Lend does, it writes before it looks at the entry. It may be repeated. ErrNoLoan: it has ended. ErrLost: the entry does not serve, or has
// another image-volume; the loan is kept all the same, since somebody may be cloning.
func (c *Catalog) KeepLoan(ctx context.Context, id LoanID, lasts time.Duration) (Loan, error) {
	op := fmt.Sprintf("keep loan %s", id)
	var l Loan
	err := c.write(ctx, op, func(t tx) (err error) {
		if l, err = scanLoan(t.row(ctx, selectLoan, id)); err != nil {
			return err
		}
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		l.LentTo, l.Until, l.Lasts = "", now.Add(lasts), lasts
		return t.change(ctx, keepLoan, micros(l.Until), lasts.Microseconds(), id, micros(now))
	})
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost) {
		err = fmt.Errorf("%s: %w", op, ErrNoLoan)
	}
	if err != nil {
		return Loan{}, err
	}
	e, err := c.Get(ctx, l.Entry)
	if errors.Is(err, ErrNotFound) || err == nil && (!e.Serves() || e.ImageVolume != l.ImageVolume) {
		err = c.wrap(op, ErrLost)
	}
	return l, err
}

// Loans lists the loans that live, the oldest first.
func (c *Catalog) Loans(ctx context.Context) ([]Loan, error) {
	var all []Loan
	err := c.read(ctx, "list loans", func(t tx) error {
		all = nil
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		return t.each(ctx, func(rows *sql.Rows) error {
			l, err := scanLoan(rows)
			all = append(all, l)
			return err
		}, selectLoans, micros(now))
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// LoansOf counts the loans of an entry that live, those that are kept too.
func (c *Catalog) LoansOf(ctx context.Context, id EntryID) (int, error) {
	return c.countLoans(ctx, loansOf, id)
}

// LoansAtWork counts the loans of an entry that live, and whose volumes are being made.
func (c *Catalog) LoansAtWork(ctx context.Context, id EntryID) (int, error) {
	return c.countLoans(ctx, loansAtWork, id)
}

func (c *Catalog) countLoans(ctx context.Context, query string, id EntryID) (n int, err error) {
	err = c.read(ctx, fmt.Sprintf("count the loans of entry %s", id), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		return t.row(ctx, query, id, micros(now)).Scan(&n)
	})
	return n, err
}

// ExpireLoans removes the rows of loans that have ended by themselves, and returns how many these were; but for those that were
// kept, whose end nobody need say.
func (c *Catalog) ExpireLoans(ctx context.Context) (expired int64, err error) {
	err = c.write(ctx, "expire loans", func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, expireKept, micros(now)); err != nil {
			return err
		}
		expired, err = t.exec(ctx, expireLoans, micros(now))
		return err
	})
	return expired, err
}

func scanLoan(row scanner) (Loan, error) {
	var l Loan
	var lent, until, lasts int64
	err := row.Scan(&l.ID, &l.Entry, &l.Store, &l.ImageVolume, &l.Generation, &l.LentTo, &l.Place, &l.Host, &lent, &until, &lasts)
	if errors.Is(err, sql.ErrNoRows) {
		return Loan{}, ErrNotFound
	}
	l.LentAt, l.Until = fromMicros(lent), fromMicros(until)
	l.Lasts = time.Duration(lasts) * time.Microsecond
	return l, err
}

const reserveMore = `UPDATE entries SET reserved_bytes = ? WHERE id = ? AND state = 'ready'`

// ReserveMore is ReserveRoom for a ready entry that is to hold more than it does: it counts bytes from now on, until
// EndReserve. A process that dies in between leaves it counting so many, until it grows again or goes. ErrLost: it is
// not ready.
func (c *Catalog) ReserveMore(ctx context.Context, id EntryID, bytes int64, decide func(Holdings) (map[EntryID]EvictCause, error)) (victims []Entry, err error) {
	var refusal error
	err = c.write(ctx, fmt.Sprintf("reserve room for more of entry %s", id), func(t tx) error {
		refusal, victims = nil, nil
		e, err := t.readyAlone(ctx, id)
		if err != nil {
			return err
		}
		all, err := t.holdings(ctx, e)
		if err != nil {
			return err
		}
		causes, err := decide(all)
		if err != nil {
			refusal = err
			return err
		}
		delete(causes, id)
		if victims, err = t.evict(ctx, e.Store, causes); err != nil {
			return err
		}
		return t.change(ctx, reserveMore, bytes, id)
	})
	switch {
	case refusal != nil && c.failed(refusal) == other:
		return nil, refusal
	case err != nil:
		return nil, err
	}
	return victims, nil
}

// readyAlone is the ready entry, once the transaction is alone on its store. ErrLost.
func (t tx) readyAlone(ctx context.Context, id EntryID) (Entry, error) {
	e, err := t.entry(ctx, id)
	if err == nil {
		if err = t.lock(ctx, storeLock(e.Store)); err == nil {
			e, err = t.entry(ctx, id)
		}
	}
	if errors.Is(err, ErrNotFound) || err == nil && e.State != Ready {
		err = ErrLost
	}
	return e, err
}

const endReserve = `UPDATE entries SET reserved_bytes = 0, held_bytes = ?, volumes = ? WHERE id = ? AND state IN ('ready', 'evicting', 'detached')`

// EndReserve ends what ReserveMore began: the entry holds so many bytes in so many volumes by now. ErrLost: it is gone.
func (c *Catalog) EndReserve(ctx context.Context, id EntryID, held int64, volumes int) error {
	return c.write(ctx, fmt.Sprintf("end the reservation of entry %s", id), func(t tx) error {
		return t.change(ctx, endReserve, held, volumes, id)
	})
}

const severalVolumes = `SELECT state, pinned, in_use, SUM(volumes - 1) FROM entries
	WHERE store = ? AND volumes > 1 AND id <> ? GROUP BY state, pinned, in_use`

// countVolumes adds to totals the further volumes of image-volumes that consist of several, but for own's.
func (t tx) countVolumes(ctx context.Context, own Entry, totals []Total) error {
	return t.each(ctx, func(rows *sql.Rows) error {
		of := Total{Store: own.Store}
		var further int64
		if err := rows.Scan(&of.State, &of.Pinned, &of.InUse, &further); err != nil {
			return err
		}
		for i := range totals {
			if totals[i].group() == of.group() {
				totals[i].Entries += further
			}
		}
		return nil
	}, severalVolumes, own.Store, own.ID)
}
