package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
)

// FillSpec asks to be the one who fills.
type FillSpec struct {
	Store   backends.StoreID
	Key     Key    // of the image: what it is looked up by
	Domain  string // whose image it is
	ImageID string // SOURCE:ID
	// Inspector is the version of the rules that images pass now: what older ones let through is not ready.
	Inspector int
	Holder    Holder
	LeaseFor  time.Duration
	// TotalBytes is the image's length; -1: nobody tells.
	TotalBytes int64
}

// FillStart is BeginFill's answer.
type FillStart int

const (
	// Started: the caller holds the fill; Entry.Attempt is its attempt.
	Started FillStart = iota + 1
	// Busy: another holder with a live lease fills it.
	Busy
	// AlreadyReady: it is there.
	AlreadyReady
	// Waiting: the last fill failed, and RetryAfter has not come.
	Waiting
)

func (s FillStart) String() string {
	switch s {
	case Started:
		return "started"
	case Busy:
		return "busy"
	case AlreadyReady:
		return "already ready"
	case Waiting:
		return "waiting"
	}
	return "unknown"
}

// newID is a time-ordered UUID (RFC 9562, version 7).
func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// NewEntryID is an ID that no entry has.
func NewEntryID() EntryID { return EntryID(uuid.Must(uuid.NewV7()).String()) }

// storeLock is taken by whatever makes a key of the store live, or decides by all of its entries.
func storeLock(store backends.StoreID) string { return "store:" + string(store) }

// BeginFill makes the caller the one who fills (row filling, next attempt, lease), or says why not; the
// entry is then the one that is in the way. A filling row whose lease has run out is taken over: then
// previous is the row as it was, whose ImageVolume and Claim the caller removes first. After a failed
// fill previous is the zero Entry, since nothing was left of it.
func (c *Catalog) BeginFill(ctx context.Context, spec FillSpec) (entry, previous Entry, start FillStart, err error) {
	op := fmt.Sprintf("begin fill of %s on %s", spec.Key, spec.Store)
	err = c.write(ctx, op, func(t tx) error {
		entry, previous, start, err = t.beginFill(ctx, spec)
		return err
	})
	if err != nil {
		return Entry{}, Entry{}, 0, err
	}
	return entry, previous, start, nil
}

func (t tx) beginFill(ctx context.Context, spec FillSpec) (entry, previous Entry, start FillStart, err error) {
	if err := t.lock(ctx, storeLock(spec.Store)); err != nil {
		return entry, previous, 0, err
	}
	now, err := t.now(ctx)
	if err != nil {
		return entry, previous, 0, err
	}
	found, err := t.find(ctx, spec.Store, spec.Domain, spec.Key, spec.Inspector)
	if errors.Is(err, ErrNotFound) {
		entry, err = t.firstFill(ctx, spec, now)
		return entry, previous, Started, errors.Join(err, t.beginProgress(ctx, spec, entry, now))
	}
	if err != nil {
		return entry, previous, 0, err
	}
	switch found.State {
	case Ready:
		return found, previous, AlreadyReady, nil
	case Filling:
		if found.LeaseUntil.After(now) {
			return found, previous, Busy, nil
		}
		previous = found
	case Failed:
		if found.RetryAfter.After(now) {
			return found, previous, Waiting, nil
		}
	case Evicting, Detached:
		return entry, previous, 0, fmt.Errorf("entry %s is %s and has a live key", found.ID, found.State)
	}
	entry, err = t.nextFill(ctx, spec, found, now)
	return entry, previous, Started, errors.Join(err, t.beginProgress(ctx, spec, entry, now))
}

// firstFill inserts the row.
func (t tx) firstFill(ctx context.Context, spec FillSpec, now time.Time) (Entry, error) {
	id, err := newID()
	if err != nil {
		return Entry{}, err
	}
	e := Entry{
		ID: EntryID(id), Store: spec.Store, Key: spec.Key, Domain: spec.Domain,
		State: Filling, Attempt: 1, CreatedAt: now,
		Lease: spec.Holder, LeaseUntil: now.Add(spec.LeaseFor),
	}
	if err := t.insert(ctx, e); err != nil {
		return Entry{}, err
	}
	if err := t.addImage(ctx, e.ID, spec.ImageID, "", now); err != nil {
		return Entry{}, err
	}
	return t.entry(ctx, e.ID)
}

const retakeEntry = `UPDATE entries SET state = 'filling', attempt = attempt + 1, image_volume = '', form = '',
	claim = '', reserved_bytes = 0, lease_host = ?, lease_incarnation = ?, lease_until = ?, retry_after = 0,
	failed_at = 0, failure = ''
	WHERE id = ? AND state = ? AND attempt = ? AND lease_until = ? AND retry_after = ?`

// nextFill takes a failed row, or one whose lease has run out, for another attempt.
func (t tx) nextFill(ctx context.Context, spec FillSpec, e Entry, now time.Time) (Entry, error) {
	err := t.stillThat(ctx, retakeEntry, spec.Holder.Instance, spec.Holder.Incarnation, micros(now.Add(spec.LeaseFor)),
		e.ID, e.State, e.Attempt, micros(e.LeaseUntil), micros(e.RetryAfter))
	if err != nil {
		return Entry{}, err
	}
	if err := t.addImage(ctx, e.ID, spec.ImageID, "", now); err != nil {
		return Entry{}, err
	}
	return t.entry(ctx, e.ID)
}

// ofFill is the operation and its subject, for errors.
func ofFill(op string, id EntryID, attempt int) string {
	return fmt.Sprintf("%s of entry %s, attempt %d", op, id, attempt)
}

const setClaim = `UPDATE entries SET claim = ? WHERE id = ? AND state = 'filling' AND attempt = ?`

// RecordClaim notes the internal tenant's claim of a fill. ErrLost.
func (c *Catalog) RecordClaim(ctx context.Context, id EntryID, attempt int, claim internaltenant.ClaimID) error {
	return c.write(ctx, ofFill("record claim", id, attempt), func(t tx) error {
		return t.change(ctx, setClaim, claim, id, attempt)
	})
}

const setStage = `UPDATE entries SET image_volume = ?, form = ?, virtual_bytes = ?
	WHERE id = ? AND state = 'filling' AND attempt = ?`

// RecordStage notes the image-volume that a fill is about to stage, before it is. ErrLost.
func (c *Catalog) RecordStage(ctx context.Context, id EntryID, attempt int, iv backends.ImageVolumeID, form backends.Form, virtualBytes int64) error {
	return c.write(ctx, ofFill("record stage", id, attempt), func(t tx) error {
		return t.change(ctx, setStage, iv, form, virtualBytes, id, attempt)
	})
}

const failEntry = `UPDATE entries SET state = 'failed', image_volume = '', form = '', claim = '', reserved_bytes = 0,
	lease_host = '', lease_incarnation = '', lease_until = 0, last_error = ?, failure = ?,
	failed_at = ?, retry_after = ?
	WHERE id = ? AND state = 'filling' AND attempt = ?`

// maxError bounds the text that is kept of an error, in bytes.
const maxError = 4096

// Failure is how a fill failed.
type Failure struct {
	Text       string    // for people; its first 4 KiB are kept
	Record     string    // for the caller itself, kept as Entry.Failure until the next fill; "": nothing
	RetryAfter time.Time // no new fill before; zero: at once
}

// FailFill ends a fill: failed, with its error and when it may be tried again. What was staged and claimed must
// be gone before. ErrLost.
func (c *Catalog) FailFill(ctx context.Context, id EntryID, attempt int, f Failure) error {
	f.Text = strings.ToValidUTF8(f.Text[:min(len(f.Text), maxError)], "")
	return c.write(ctx, ofFill("fail fill", id, attempt), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		return t.change(ctx, failEntry, f.Text, f.Record, micros(now), micros(f.RetryAfter), id, attempt)
	})
}

const (
	deleteFailed  = `DELETE FROM entries WHERE state = 'failed' AND failed_at <= ?`
	forgetRefusal = `UPDATE entries SET retry_after = 0 WHERE state = 'failed' AND retry_after <> 0`
)

// ExpireFailed removes the rows of fills that failed at this time or earlier, and says how many.
func (c *Catalog) ExpireFailed(ctx context.Context, until time.Time) (int64, error) {
	var removed int64
	err := c.write(ctx, "expire failed fills", func(t tx) (err error) {
		removed, err = t.exec(ctx, deleteFailed, micros(until))
		return err
	})
	return removed, err
}

// RetryFailed lets every failed fill be tried again at once: for a process whose rules or sources may be other
// ones than those that they failed under.
func (c *Catalog) RetryFailed(ctx context.Context) error {
	return c.write(ctx, "let failed fills be tried again", func(t tx) error {
		_, err := t.exec(ctx, forgetRefusal)
		return err
	})
}

const deleteFill = `DELETE FROM entries WHERE id = ? AND state = 'filling' AND attempt = ?`

// ForgetFill removes a filling row without a trace. What was staged and claimed must be gone before. ErrLost.
func (c *Catalog) ForgetFill(ctx context.Context, id EntryID, attempt int) error {
	return c.write(ctx, ofFill("forget fill", id, attempt), func(t tx) error {
		return t.change(ctx, deleteFill, id, attempt)
	})
}

const (
	takeOverFill = `UPDATE entries SET lease_incarnation = ?, lease_until = ?
		WHERE id = ? AND state = 'filling' AND attempt = ? AND lease_host = ? AND lease_incarnation = ?`
	selectFills = `SELECT ` + entryColumns + ` FROM entries e
		WHERE e.state = 'filling' AND e.lease_host = ? AND e.lease_incarnation <> ? ORDER BY e.id`
)

// TakeOver returns the fills of earlier incarnations of this instance, now leased to h, at the attempt that
// they were. They are the caller's to undo. It is for a process that knows the earlier ones to be dead.
func (c *Catalog) TakeOver(ctx context.Context, h Holder, leaseFor time.Duration) ([]Entry, error) {
	var fills []Entry
	err := c.write(ctx, "take over fills of "+string(h.Instance), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		fills, err = t.entries(ctx, selectFills, h.Instance, h.Incarnation)
		if err != nil {
			return err
		}
		until := now.Add(leaseFor)
		for i := range fills {
			e := &fills[i]
			err := t.stillThat(ctx, takeOverFill, h.Incarnation, micros(until), e.ID, e.Attempt, h.Instance, e.Lease.Incarnation)
			if err != nil {
				return err
			}
			e.Lease, e.LeaseUntil = h, until
			if *e, err = t.withImages(ctx, *e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return fills, nil
}

const (
	// selectExpired has an index: entries_by_state.
	selectExpired = `SELECT ` + entryColumns + ` FROM entries e
		WHERE e.state = 'filling' AND e.store = ? AND e.lease_until <= ? AND e.lease_host <> ? ORDER BY e.id`
	seizeFill = `UPDATE entries SET attempt = attempt + 1, lease_host = ?, lease_incarnation = ?, lease_until = ?
		WHERE id = ? AND state = 'filling' AND attempt = ? AND lease_until = ?`
)

// SeizeExpired takes over the fills on a store whose leases other instances let run out at least overdue ago, and returns
// them: at the next attempt, so that whoever was only stopped finds them lost, and with the image-volume and the claim of the attempt
// before, which are the caller's to undo.
func (c *Catalog) SeizeExpired(ctx context.Context, store backends.StoreID, h Holder, leaseFor, overdue time.Duration) ([]Entry, error) {
	var fills []Entry
	err := c.write(ctx, fmt.Sprintf("take over fills on %s that nobody works on", store), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if fills, err = t.entries(ctx, selectExpired, store, micros(now.Add(-overdue)), h.Instance); err != nil {
			return err
		}
		for i := range fills {
			e := &fills[i]
			if err := t.stillThat(ctx, seizeFill, h.Instance, h.Incarnation, micros(now.Add(leaseFor)), e.ID, e.Attempt, micros(e.LeaseUntil)); err != nil {
				return err
			}
			if *e, err = t.entry(ctx, e.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return fills, nil
}

// entries reads every entry that a statement selects, without images.
func (t tx) entries(ctx context.Context, stmt string, args ...any) ([]Entry, error) {
	var all []Entry
	err := t.each(ctx, func(rows *sql.Rows) error {
		e, err := scanEntry(rows)
		all = append(all, e)
		return err
	}, stmt, args...)
	return all, err
}
