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
)

// Duty names what one daemon at a time does on a store, though all could.
type Duty string

const (
	// DutyReconcile compares catalog, store and claims, and mends; without a store it is about the claims.
	DutyReconcile Duty = "reconcile"
	// DutyReap frees what evictions have left on a store, once its last clone is gone.
	DutyReap Duty = "reap"
	// DutyInherit settles on a store what daemons that are gone for good have left half made.
	DutyInherit Duty = "inherit"
	// DutyScrub reads a store's image-volumes back, one after the other.
	DutyScrub Duty = "scrub"
	// DutyClean looks slowly for what no row of a store names, or, without a store, for claims for nothing.
	DutyClean Duty = "clean"
	// DutyGrow makes another generation of an entry's image-volume.
	DutyGrow Duty = "grow"
	// DutyMake makes, or answers with, the volume of one name on a store whose volumes may have equal names.
	DutyMake Duty = "make"
)

// DutySpec asks to be the one on duty.
type DutySpec struct {
	Duty     Duty
	Store    backends.StoreID    // "": the whole catalog
	Entry    EntryID             // that alone; "": the whole store
	Volume   backends.VolumeName // the volume of that name alone; "": the whole store
	Holder   Holder
	LeaseFor time.Duration
	// Every is how long the duty rests after it was brought to its end, by whomever; 0: not at all. What looks for what is wrong
	// rests from when it was begun: what is wrong since then it may have missed.
	Every time.Duration
}

// DutyLease says who is on duty, until when.
type DutyLease struct {
	Duty    Duty
	Store   backends.StoreID
	Entry   EntryID
	Holder  Holder
	Until   time.Time
	Left    bool // whoever had it before neither gave it back nor came to AnswerDuty: it died, or stood still for longer than its lease
	begun   time.Time
	version int64
	of      string // what it is about alone; "": the whole store
}

// of is what the duty is about alone, as its row says it. A volume's name may be longer than that, and in any script.
func (s DutySpec) of() string {
	if s.Volume != "" {
		return uuid.NewSHA1(uuid.NameSpaceURL, []byte("clonecache:volume:"+s.Volume)).String()
	}
	return string(s.Entry)
}

// row is the name of the duty's row on its store. Each entry and each volume has one of its own, which is there while somebody is
// on duty.
func (l DutyLease) row() string {
	if l.of == "" {
		return string(l.Duty)
	}
	return string(l.Duty) + " " + l.of
}

// DutyStart is TakeDuty's answer.
type DutyStart int

const (
	// OnDuty: the caller is.
	OnDuty DutyStart = iota + 1
	// Elsewhere: another holder is, under a lease that runs.
	Elsewhere
	// Rests: it was done not long ago.
	Rests
)

const (
	selectDuty       = `SELECT duty, store, host, incarnation, lease_until, version, done_at FROM duties WHERE duty = ? AND store = ?`
	selectHostDuties = `SELECT duty, store, host, incarnation, lease_until, version, done_at FROM duties WHERE host = ? AND lease_until > ? ORDER BY duty, store`
	insertDuty       = `INSERT INTO duties (duty, store, host, incarnation, lease_until, version, done_at) VALUES (?, ?, ?, ?, ?, ?, 0)`
	takeDuty         = `UPDATE duties SET host = ?, incarnation = ?, lease_until = ?, version = version + 1
		WHERE duty = ? AND store = ? AND version = ?`
	takeDutyOf = `UPDATE duties SET host = ?, incarnation = ?, lease_until = ?, version = version + 1, done_at = 0
		WHERE duty = ? AND store = ? AND version = ?` // of one thing alone: it does not rest, and done_at says that it was answered
	answerDuty = `UPDATE duties SET lease_until = ?, done_at = 1 WHERE duty = ? AND store = ? AND version = ? AND host = ? AND incarnation = ?`
	renewDuty  = `UPDATE duties SET lease_until = ? WHERE duty = ? AND store = ? AND version = ? AND host = ? AND incarnation = ?`
	endDuty    = `UPDATE duties SET lease_until = 0, done_at = CASE WHEN ? > done_at THEN ? ELSE done_at END, version = version + 1
		WHERE duty = ? AND store = ? AND version = ? AND host = ? AND incarnation = ?`
	dropDuty       = `DELETE FROM duties WHERE duty = ? AND store = ? AND version = ? AND host = ? AND incarnation = ?`
	dropLeftDuties = `DELETE FROM duties WHERE store = ? AND (duty LIKE 'grow %' OR duty LIKE 'make %') AND lease_until <= ?`
	freeOwnDuties  = `UPDATE duties SET lease_until = 0, version = version + 1 WHERE host = ? AND incarnation = ? AND lease_until > 0`
	freeHostDuties = `UPDATE duties SET lease_until = 0, version = version + 1 WHERE host = ? AND lease_until > 0`
)

// TakeDuty makes the caller the one on duty, unless another holder is, or it is not due yet. An earlier incarnation of the
// caller's instance is dead, and in nobody's way; nor is the caller's own duty of a volume's name, whose lease is lost then. The lease
// is good for its own duty alone.
func (c *Catalog) TakeDuty(ctx context.Context, spec DutySpec) (lease DutyLease, start DutyStart, err error) {
	op := fmt.Sprintf("take duty %s of store %q", spec.Duty, spec.Store)
	err = c.write(ctx, op, func(t tx) error {
		lease, start, err = t.takeDuty(ctx, spec)
		return err
	})
	if err != nil {
		return DutyLease{}, 0, err
	}
	return lease, start, nil
}

func (t tx) takeDuty(ctx context.Context, spec DutySpec) (DutyLease, DutyStart, error) {
	now, err := t.now(ctx)
	if err != nil {
		return DutyLease{}, 0, err
	}
	lease := DutyLease{Duty: spec.Duty, Store: spec.Store, Entry: spec.Entry, Holder: spec.Holder, Until: now.Add(spec.LeaseFor), begun: now, of: spec.of()}
	was, done, err := scanDuty(t.row(ctx, selectDuty, lease.row(), spec.Store))
	if errors.Is(err, sql.ErrNoRows) {
		lease.version = micros(now) // not that of a row which was dropped
		return lease, OnDuty, t.insertDuty(ctx, lease, now)
	}
	switch {
	case err != nil:
		return DutyLease{}, 0, err
	case was.Until.After(now) && !spec.over(was):
		return was, Elsewhere, nil
	case done.Add(spec.Every).After(now):
		return was, Rests, nil
	}
	take := takeDuty
	lease.version, lease.Left = was.version+1, was.Until.After(fromMicros(0))
	if lease.of != "" {
		take, lease.Left = takeDutyOf, !done.After(fromMicros(0))
	}
	return lease, OnDuty, t.stillThat(ctx, take, spec.Holder.Instance, spec.Holder.Incarnation, micros(lease.Until), lease.row(), spec.Store, was.version)
}

// DutyElsewhere tells whether another holder is on duty, in whose way the caller is not to get. ErrUnavailable.
func (c *Catalog) DutyElsewhere(ctx context.Context, spec DutySpec) (elsewhere bool, err error) {
	err = c.read(ctx, fmt.Sprintf("look who is on duty %s of store %q", spec.Duty, spec.Store), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		was, _, err := scanDuty(t.row(ctx, selectDuty, DutyLease{Duty: spec.Duty, of: spec.of()}.row(), spec.Store))
		if errors.Is(err, sql.ErrNoRows) {
			elsewhere = false
			return nil
		}
		elsewhere = err == nil && was.Until.After(now) && !spec.over(was)
		return err
	})
	return elsewhere, err
}

// over tells that a duty under a lease that runs is in nobody's way: an earlier incarnation of the caller had it, which is dead, or the
// caller, who did not come to giving a name back. Who makes a volume on one host takes turns there, and asks for the duty once more.
func (s DutySpec) over(was DutyLease) bool {
	return was.Holder.Instance == s.Holder.Instance && (was.Holder != s.Holder || s.Volume != "")
}

// leftAfter is when the row of a duty of an entry, or of a volume, is dropped that nobody has ended.
const leftAfter = 24 * time.Hour

func (t tx) dropLeftDuties(ctx context.Context, store backends.StoreID, now time.Time) error {
	_, err := t.exec(ctx, dropLeftDuties, store, micros(now.Add(-leftAfter)))
	return err
}

func (t tx) insertDuty(ctx context.Context, l DutyLease, now time.Time) error {
	if l.Entry != "" {
		if err := t.dropLeftDuties(ctx, l.Store, now); err != nil {
			return err
		}
	}
	return t.change(ctx, insertDuty, l.row(), l.Store, l.Holder.Instance, l.Holder.Incarnation, micros(l.Until), l.version)
}

// RenewDuty keeps the lease for leaseFor from now on. One that has run out may be renewed as long as nobody took it. ErrLost.
func (c *Catalog) RenewDuty(ctx context.Context, l DutyLease, leaseFor time.Duration) error {
	return c.renewDuty(ctx, renewDuty, l, leaseFor)
}

// AnswerDuty is RenewDuty, and notes that somebody is told of what was done: it was not left, whatever becomes of its holder. It is for
// a duty of one name. ErrLost.
func (c *Catalog) AnswerDuty(ctx context.Context, l DutyLease, leaseFor time.Duration) error {
	return c.renewDuty(ctx, answerDuty, l, leaseFor)
}

func (c *Catalog) renewDuty(ctx context.Context, stmt string, l DutyLease, leaseFor time.Duration) error {
	return c.write(ctx, fmt.Sprintf("renew duty %s of store %q", l.Duty, l.Store), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		return t.change(ctx, stmt, micros(now.Add(leaseFor)), l.row(), l.Store, l.version, l.Holder.Instance, l.Holder.Incarnation)
	})
}

// Ending says whether a duty was brought to its end.
type Ending bool

const (
	// Done: it rests now.
	Done Ending = true
	// Undone: it is due still.
	Undone Ending = false
)

// EndDuty lets others have the duty. One of an entry, or of a volume, does not rest. ErrLost: another one has it already.
func (c *Catalog) EndDuty(ctx context.Context, l DutyLease, how Ending) error {
	return c.write(ctx, fmt.Sprintf("end duty %s of store %q", l.Duty, l.Store), func(t tx) error {
		if l.of != "" {
			return t.change(ctx, dropDuty, l.row(), l.Store, l.version, l.Holder.Instance, l.Holder.Incarnation)
		}
		var done int64
		if how == Done {
			now, err := t.now(ctx)
			if err != nil {
				return err
			}
			done = micros(now)
			if l.Duty == DutyReconcile || l.Duty == DutyClean {
				done = micros(l.begun)
			}
			if l.Duty == DutyClean {
				if err := t.dropLeftDuties(ctx, l.Store, now); err != nil {
					return err
				}
			}
		}
		return t.change(ctx, endDuty, done, done, l.row(), l.Store, l.version, l.Holder.Instance, l.Holder.Incarnation)
	})
}

func (t tx) duties(ctx context.Context, stmt string, args ...any) ([]DutyLease, error) {
	var all []DutyLease
	err := t.each(ctx, func(rows *sql.Rows) error {
		l, _, err := scanDuty(rows)
		all = append(all, l)
		return err
	}, stmt, args...)
	return all, err
}

func scanDuty(row scanner) (l DutyLease, done time.Time, err error) {
	var name string
	var until, at int64
	err = row.Scan(&name, &l.Store, &l.Holder.Instance, &l.Holder.Incarnation, &until, &l.version, &at)
	duty, of, _ := strings.Cut(name, " ")
	l.Duty, l.of, l.Until = Duty(duty), of, fromMicros(until)
	if l.Duty != DutyMake {
		l.Entry = EntryID(of)
	}
	return l, fromMicros(at), err
}
