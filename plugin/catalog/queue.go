package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// ErrNotQueued: the queue has no such row, or it is another holder's by now: whoever works on it must stop.
var ErrNotQueued = errors.New("not in the queue")

// QueueID names a row of the queue.
type QueueID string

// QueueState is how far a row of the queue has come.
type QueueState string

// The states of a row of the queue.
const (
	QueueWaiting QueueState = "waiting"
	QueueRunning QueueState = "running"
	QueueDone    QueueState = "done"
	QueueFailed  QueueState = "failed"
)

// Queued is a row of the queue: an image that is to be cached in a store ahead of its first request. There is at most
// one of a store, image and form.
type Queued struct {
	ID       QueueID
	Store    backends.StoreID
	Image    string // SOURCE:ID
	Form     backends.Form
	State    QueueState
	Priority int // the greatest goes first
	Pin      bool
	// PinByRule tells that a rule by which images are followed wants the pin, and no person.
	PinByRule bool
	QueuedAt  time.Time
	// Attempts counts those that have begun.
	Attempts  int
	NextTryAt time.Time // not before; zero: at once
	EndedAt   time.Time // of what is done or has failed
	LastError string
	Entry     EntryID // of what is done
	// Lease is who works on it, until LeaseUntil unless renewed; how far that was then is in Progress.
	Lease      Holder
	LeaseUntil time.Time
	Progress   FillProgress // Written says nothing
}

// QueueSpec asks for an image in a store.
type QueueSpec struct {
	Store    backends.StoreID
	Image    string
	Form     backends.Form // "": backends.Decoded
	Priority int
	Pin      bool
	// PinByRule tells that a rule by which images are followed wants the pin, and no person.
	PinByRule bool
}

// byPerson tells whether a person wants the pin.
func byPerson(pin, byRule bool) bool { return pin && !byRule }

const (
	queueColumns = `id, store, image, state, priority, pin, queued_at, attempts, next_try_at, ended_at, last_error, entry_id,
		lease_host, lease_incarnation, lease_until, read_bytes, total_bytes, version, pin_by_rule`
	insertQueued = `INSERT INTO fill_queue (` + queueColumns + `)
		VALUES (?, ?, ?, 'waiting', ?, ?, ?, 0, 0, 0, '', '', '', '', 0, 0, -1, 1, ?)`
	selectQueuedAs = `SELECT ` + queueColumns + ` FROM fill_queue WHERE image = ? AND store = ?`
	selectQueued   = `SELECT ` + queueColumns + ` FROM fill_queue WHERE id = ?`
	// hurryQueued lets what waits, or runs, be tried at once, and what has ended begin anew at the queue's end.
	hurryQueued = `UPDATE fill_queue SET priority = ?, pin = ?, pin_by_rule = ?, next_try_at = 0 WHERE id = ? AND version = ?`
	renewQueued = `UPDATE fill_queue SET state = 'waiting', priority = ?, pin = ?, pin_by_rule = ?, queued_at = ?, attempts = 0, next_try_at = 0,
		ended_at = 0, last_error = '', entry_id = '', read_bytes = 0, total_bytes = -1, version = version + 1
		WHERE id = ? AND version = ?`
)

// queueLock is taken by whoever adds to the queue.
const queueLock = "queue"

// Enqueue adds images to the queue, all or none, and returns their rows in the order given. An image that waits or runs
// already keeps its place, or gets the greater priority, and is pinned if either wants it, for a person if one does; one that has ended
// is queued anew.
func (c *Catalog) Enqueue(ctx context.Context, specs []QueueSpec) ([]Queued, error) {
	var rows []Queued
	err := c.write(ctx, "queue images", func(t tx) error {
		rows = rows[:0]
		if err := t.lock(ctx, queueLock); err != nil {
			return err
		}
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		for i, spec := range specs {
			// One moment would leave the order to the IDs, which several hosts make.
			row, err := t.enqueue(ctx, spec, now.Add(time.Duration(i)*time.Microsecond))
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (t tx) enqueue(ctx context.Context, spec QueueSpec, now time.Time) (Queued, error) {
	image := queuedAs(spec.Image, spec.Form)
	there, version, err := t.queued(ctx, selectQueuedAs, image, spec.Store)
	switch {
	case errors.Is(err, ErrNotQueued):
		id, err := newID()
		if err != nil {
			return Queued{}, err
		}
		if _, err := t.exec(ctx, insertQueued, id, spec.Store, image, spec.Priority, oneIf(spec.Pin), micros(now), oneIf(spec.PinByRule)); err != nil {
			return Queued{}, err
		}
		there.ID = QueueID(id)
	case err != nil:
		return Queued{}, err
	case there.State == QueueDone, there.State == QueueFailed:
		err = t.stillThat(ctx, renewQueued, spec.Priority, oneIf(spec.Pin), oneIf(spec.PinByRule), micros(now), there.ID, version)
	default:
		pin, person := spec.Pin || there.Pin, byPerson(spec.Pin, spec.PinByRule) || byPerson(there.Pin, there.PinByRule)
		err = t.stillThat(ctx, hurryQueued, max(spec.Priority, there.Priority), oneIf(pin), oneIf(pin && !person), there.ID, version)
	}
	if err != nil && !errors.Is(err, ErrNotQueued) {
		return Queued{}, err
	}
	row, _, err := t.queued(ctx, selectQueued, there.ID)
	return row, err
}

func oneIf(is bool) int {
	if is {
		return 1
	}
	return 0
}

// queued reads one row. ErrNotQueued.
func (t tx) queued(ctx context.Context, stmt string, args ...any) (row Queued, version int64, err error) {
	row, version, err = scanQueued(t.row(ctx, stmt, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotQueued
	}
	return row, version, err
}

func scanQueued(r interface{ Scan(...any) error }) (row Queued, version int64, err error) {
	var queued, next, ended, until int64
	err = r.Scan(&row.ID, &row.Store, &row.Image, &row.State, &row.Priority, &row.Pin, &queued, &row.Attempts, &next, &ended,
		&row.LastError, &row.Entry, &row.Lease.Instance, &row.Lease.Incarnation, &until, &row.Progress.Read, &row.Progress.Total, &version, &row.PinByRule)
	row.Image, row.Form = ofQueuedAs(row.Image)
	row.QueuedAt, row.NextTryAt, row.EndedAt, row.LeaseUntil = fromMicros(queued), fromMicros(next), fromMicros(ended), fromMicros(until)
	return row, version, err
}

const (
	// feasible are the rows of stores that the instance has, and of those that nobody has: what others have is theirs to do.
	feasible = ` AND (EXISTS (SELECT 1 FROM host_stores m WHERE m.store = fill_queue.store AND m.host = ?)
		OR NOT EXISTS (SELECT 1 FROM host_stores o WHERE o.store = fill_queue.store))`
	countTakeable  = `SELECT COUNT(*) FROM fill_queue WHERE ((state = 'waiting' AND next_try_at <= ?) OR (state = 'running' AND lease_until <= ?))` + feasible
	notOfSource    = ` AND SUBSTR(image, 1, ?) <> ?`
	notOfStore     = ` AND store <> ?`
	releaseExpired = `UPDATE fill_queue SET state = 'waiting', lease_host = '', lease_incarnation = '', lease_until = 0, version = version + 1
		WHERE state = 'running' AND lease_until <= ?`
	selectNext     = `SELECT ` + queueColumns + ` FROM fill_queue WHERE state = 'waiting' AND next_try_at <= ?` + feasible
	firstInLine    = ` ORDER BY priority DESC, queued_at, id LIMIT 1`
	selectSiblings = `SELECT ` + queueColumns + ` FROM fill_queue WHERE (image = ? OR image = ?) AND state = 'waiting' AND next_try_at <= ?` + feasible + `
		ORDER BY priority DESC, queued_at, id`
	takeQueued = `UPDATE fill_queue SET state = 'running', attempts = attempts + 1, next_try_at = 0, lease_host = ?, lease_incarnation = ?,
		lease_until = ?, read_bytes = 0, total_bytes = -1, version = version + 1 WHERE id = ? AND state = 'waiting' AND version = ?`
)

// TakeQueued makes the caller the one who works on what is next: the row of the greatest priority that waited longest,
// and with it those of the same image in other stores. Rows of stores that only other daemons have are left to them,
// and what is to be left stays as it is. None: nothing is to be done now. Rows whose lease has run out wait again from this call on.
func (c *Catalog) TakeQueued(ctx context.Context, h Holder, leaseFor time.Duration, but LeaveQueued) ([]Queued, error) {
	var taken []Queued
	if any, err := c.anyQueued(ctx, h, but); err != nil || !any {
		return nil, err
	}
	err := c.write(ctx, "take from the queue", func(t tx) (err error) {
		taken, err = t.takeQueued(ctx, h, leaseFor, but)
		return err
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// anyQueued tells whether there might be something to take, and writes nothing: mostly there is not.
func (c *Catalog) anyQueued(ctx context.Context, h Holder, but LeaveQueued) (any bool, err error) {
	err = c.read(ctx, "look at the queue", func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		var n int
		without, args := but.condition(micros(now), micros(now), h.Instance)
		err = t.row(ctx, countTakeable+without, args...).Scan(&n)
		any = n > 0
		return err
	})
	return any, err
}

// LeaveQueued is what is not taken next: images of some sources, and what is to be cached in some stores. Of an image that is
// taken for another store, the rows in these stores are taken all the same.
type LeaveQueued struct {
	Sources []string
	Stores  []backends.StoreID
}

// condition is the one that leaves it out, and its arguments behind others.
func (but LeaveQueued) condition(args ...any) (string, []any) {
	for _, source := range but.Sources {
		prefix := source + ":"
		args = append(args, len([]rune(prefix)), prefix)
	}
	for _, store := range but.Stores {
		args = append(args, store)
	}
	return strings.Repeat(notOfSource, len(but.Sources)) + strings.Repeat(notOfStore, len(but.Stores)), args
}

func (t tx) takeQueued(ctx context.Context, h Holder, leaseFor time.Duration, but LeaveQueued) ([]Queued, error) {
	now, err := t.now(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := t.exec(ctx, releaseExpired, micros(now)); err != nil {
		return nil, err
	}
	without, args := but.condition(micros(now), h.Instance)
	next, _, err := t.queued(ctx, selectNext+without+firstInLine, args...)
	if errors.Is(err, ErrNotQueued) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, versions, err := t.allQueued(ctx, selectSiblings, queuedAs(next.Image, backends.Decoded), queuedAs(next.Image, backends.Source), micros(now), h.Instance)
	if err != nil {
		return nil, err
	}
	until := now.Add(leaseFor)
	for i := range rows {
		if err := t.stillThat(ctx, takeQueued, h.Instance, h.Incarnation, micros(until), rows[i].ID, versions[i]); err != nil {
			return nil, err
		}
		if rows[i], _, err = t.queued(ctx, selectQueued, rows[i].ID); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (t tx) allQueued(ctx context.Context, stmt string, args ...any) (all []Queued, versions []int64, err error) {
	err = t.each(ctx, func(rows *sql.Rows) error {
		row, version, err := scanQueued(rows)
		all, versions = append(all, row), append(versions, version)
		return err
	}, stmt, args...)
	return all, versions, err
}

const (
	ofHolder    = ` WHERE id = ? AND state = 'running' AND attempts = ? AND lease_host = ? AND lease_incarnation = ?`
	keepQueued  = `UPDATE fill_queue SET lease_until = ?, read_bytes = ?, total_bytes = ?` + ofHolder
	endQueued   = `UPDATE fill_queue SET state = ?, attempts = ?, next_try_at = ?, ended_at = ?, last_error = ?, entry_id = ?, lease_host = '', lease_incarnation = '', lease_until = 0, version = version + 1` + ofHolder
	resumeQueue = `UPDATE fill_queue SET state = 'waiting', lease_host = '', lease_incarnation = '', lease_until = 0, version = version + 1
		WHERE state = 'running' AND lease_host = ? AND lease_incarnation <> ?`
)

// KeepQueued renews the lease of a row that the caller took, and tells others how far that is. ErrNotQueued: it was
// deleted, or its lease ran out and another one has it.
func (c *Catalog) KeepQueued(ctx context.Context, row Queued, h Holder, leaseFor time.Duration, so FillProgress) error {
	return c.ofQueued(ctx, "renew lease", row.ID, func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		return t.change(ctx, keepQueued, micros(now.Add(leaseFor)), so.Read, so.Total, row.ID, row.Attempts, h.Instance, h.Incarnation)
	})
}

// QueueEnd is what became of an attempt.
type QueueEnd struct {
	State QueueState    // QueueDone, QueueFailed, or QueueWaiting to be tried again
	Error string        // its first 4 KiB are kept
	Entry EntryID       // of what is done
	Again time.Duration // how long it waits
	// Uncounted: it was broken off, and is no attempt.
	Uncounted bool
}

// EndQueued ends an attempt at a row that the caller took. What is done waits again at once where somebody has asked
// meanwhile for its entry to be pinned, or pinned for a person, which row says nothing of. ErrNotQueued as KeepQueued.
func (c *Catalog) EndQueued(ctx context.Context, row Queued, h Holder, end QueueEnd) error {
	end.Error = strings.ToValidUTF8(end.Error[:min(len(end.Error), maxError)], "")
	return c.ofQueued(ctx, "end attempt", row.ID, func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if there, _, err := t.queued(ctx, selectQueued, row.ID); err != nil {
			return err
		} else if end.State == QueueDone && (there.Pin && !row.Pin || byPerson(there.Pin, there.PinByRule) && row.PinByRule) {
			end = QueueEnd{State: QueueWaiting, Uncounted: true}
		}
		attempts := row.Attempts
		if end.Uncounted {
			attempts--
		}
		var next, ended time.Time
		if end.State == QueueWaiting {
			next = now.Add(end.Again)
		} else {
			ended = now
		}
		return t.change(ctx, endQueued, end.State, attempts, micros(next), micros(ended), end.Error, end.Entry,
			row.ID, row.Attempts, h.Instance, h.Incarnation)
	})
}

// ResumeQueue lets rows that earlier incarnations of this instance worked on wait again. It is for a process that knows
// those to be dead.
func (c *Catalog) ResumeQueue(ctx context.Context, h Holder) error {
	return c.write(ctx, "resume the queue", func(t tx) error {
		_, err := t.exec(ctx, resumeQueue, h.Instance, h.Incarnation)
		return err
	})
}

// ofQueued is a change of one row. ErrNotQueued where it is not as the statement has it.
func (c *Catalog) ofQueued(ctx context.Context, op string, id QueueID, f func(tx) error) error {
	return c.write(ctx, fmt.Sprintf("%s of queued image %s", op, id), func(t tx) error {
		err := f(t)
		if errors.Is(err, ErrLost) {
			err = ErrNotQueued
		}
		return err
	})
}

const (
	selectQueue = `SELECT ` + queueColumns + ` FROM fill_queue ORDER BY
		CASE state WHEN 'running' THEN 0 WHEN 'waiting' THEN 1 WHEN 'failed' THEN 2 ELSE 3 END, priority DESC, queued_at, id`
	deleteQueued = `DELETE FROM fill_queue WHERE id = ?`
	clearQueue   = `DELETE FROM fill_queue`
	retryQueued  = `UPDATE fill_queue SET state = 'waiting', attempts = 0, next_try_at = 0, ended_at = 0, version = version + 1
		WHERE id = ? AND (state = 'failed' OR state = 'waiting')`
	retryFailed = `UPDATE fill_queue SET state = 'waiting', attempts = 0, next_try_at = 0, ended_at = 0, version = version + 1
		WHERE state = 'failed' OR (state = 'waiting' AND next_try_at > 0)`
	expireQueue = `DELETE FROM fill_queue WHERE state = ? AND ended_at <= ?`
)

// Queue returns the rows: what runs, then what waits, in its order, then what has failed, then what is done.
func (c *Catalog) Queue(ctx context.Context) ([]Queued, error) {
	var all []Queued
	err := c.read(ctx, "read the queue", func(t tx) (err error) {
		all, _, err = t.allQueued(ctx, selectQueue)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
