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
	Store    backends.Name
	Key      Key
	Domain   string
	ImageID  string // SOURCE:ID
	Holder   Holder
	LeaseFor time.Duration
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
func storeLock(store backends.Name) string { return "store:" + string(store) }

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
	found, err := t.find(ctx, spec.Store, spec.Domain, spec.Key)
	if errors.Is(err, ErrNotFound) {
		entry, err = t.firstFill(ctx, spec, now)
		return entry, previous, Started, err
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
	return entry, previous, Started, err
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
	claim = '', reserved_bytes = 0, lease_host = ?, lease_incarnation = ?, lease_until = ?, retry_after = 0
	WHERE id = ? AND state = ? AND attempt = ?`

// nextFill takes a failed row, or one whose lease has run out, for another attempt.
func (t tx) nextFill(ctx context.Context, spec FillSpec, e Entry, now time.Time) (Entry, error) {
	err := t.change(ctx, retakeEntry, spec.Holder.Instance, spec.Holder.Incarnation, micros(now.Add(spec.LeaseFor)),
		e.ID, e.State, e.Attempt)
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

const renewLease = `UPDATE entries SET lease_until = ?
	WHERE id = ? AND state = 'filling' AND attempt = ? AND lease_host = ? AND lease_incarnation = ?`

// Renew keeps the lease of a fill: it runs for leaseFor from now. A lease that has run out may be
// renewed as long as nobody took the fill over. ErrLost.
func (c *Catalog) Renew(ctx context.Context, id EntryID, attempt int, h Holder, leaseFor time.Duration) error {
	return c.write(ctx, ofFill("renew lease", id, attempt), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		return t.change(ctx, renewLease, micros(now.Add(leaseFor)), id, attempt, h.Instance, h.Incarnation)
	})
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
	lease_host = '', lease_incarnation = '', lease_until = 0, last_error = ?, retry_after = ?
	WHERE id = ? AND state = 'filling' AND attempt = ?`

// maxError bounds the text that is kept of an error, in bytes.
const maxError = 4096

// FailFill ends a fill: failed, with its error (its first 4 KiB) and when it may be tried again. What
// was staged and claimed must be gone before. ErrLost.
func (c *Catalog) FailFill(ctx context.Context, id EntryID, attempt int, cause string, retryAfter time.Time) error {
	cause = strings.ToValidUTF8(cause[:min(len(cause), maxError)], "")
	return c.write(ctx, ofFill("fail fill", id, attempt), func(t tx) error {
		return t.change(ctx, failEntry, cause, micros(retryAfter), id, attempt)
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
	takeOverFills = `UPDATE entries SET lease_incarnation = ?, lease_until = ?
		WHERE state = 'filling' AND lease_host = ? AND lease_incarnation <> ?`
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
		fills, err = t.entries(ctx, selectFills+t.c.dialect.lockRows, h.Instance, h.Incarnation)
		if err != nil {
			return err
		}
		until := now.Add(leaseFor)
		for i := range fills {
			fills[i].Lease, fills[i].LeaseUntil = h, until
			if fills[i], err = t.withImages(ctx, fills[i]); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, takeOverFills, h.Incarnation, micros(until), h.Instance, h.Incarnation)
		return err
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
