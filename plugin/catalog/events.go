package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

// EventID counts events, and none is used twice. Of one daemon's events a later one has a higher ID. On a server another daemon's
// event may become visible a moment after one with a higher ID: as long as its transaction takes.
type EventID int64

// Event is something that happened. Fields that say nothing of it are zero.
type Event struct {
	ID EventID // given by Record
	// Seq is that of the journal's record which tells of it: with that request it is recorded once. 0: none.
	Seq int64
	At  time.Time
	// Routine events are those of which there may be very many: they have half of the rows, the others the
	// other half, so that neither push the others out.
	Routine bool
	Kind    words.EventKind
	Backend backends.Name // or file cache
	ImageID string
	Entry   EntryID
	Volume  backends.VolumeName
	Outcome words.Outcome
	Reason  words.Reason
	Detail  string
	Bytes   int64
	Took    time.Duration // in microseconds
	Who     string        // asked for it through the API
	Host    string        // the instance of the daemon that noted it; insert fills it in
}

// EventFilter selects events. The zero filter selects all.
type EventFilter struct {
	After   EventID   // later ones
	IDs     []EventID // none: all
	Since   time.Time // those that happened at this time or later
	Backend backends.Name
	Host    string // an instance; "": all
	Volume  backends.VolumeName
	Entry   EntryID
	ImageID string
	Kinds   []words.EventKind // none: all
	Limit   int               // 0: no limit
	Newest  bool              // Limit leaves the newest ones, not the oldest
}

const (
	eventColumns = `at, routine, kind, backend, image_id, entry_id, volume, outcome, reason, detail, bytes, took, who, host`
	insertEvent  = `INSERT INTO events (` + eventColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	listEvents   = `SELECT id, ` + eventColumns + ` FROM events`
	listEventIDs = `SELECT id FROM events`
	// trimEvents removes those of a class that are older than its newest ones. The inner table is for
	// databases that cannot select from what they delete.
	trimEvents = `DELETE FROM events WHERE routine = ? AND id <=
		(SELECT id FROM (SELECT id FROM events WHERE routine = ? ORDER BY id DESC LIMIT 1 OFFSET ?) AS oldest)`
)

// Events lists events by ID, ascending.
func (c *Catalog) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	var all []Event
	where, args := f.where()
	err := c.read(ctx, "list events", func(t tx) error {
		all = nil
		return t.each(ctx, func(rows *sql.Rows) error {
			e, err := scanEvent(rows)
			all = append(all, e)
			return err
		}, listEvents+where, args...)
	})
	if err != nil {
		return nil, err
	}
	if f.Newest {
		slices.Reverse(all)
	}
	return all, nil
}

// EventIDs lists the IDs of events, ascending.
func (c *Catalog) EventIDs(ctx context.Context, f EventFilter) ([]EventID, error) {
	var all []EventID
	where, args := f.where()
	err := c.read(ctx, "list IDs of events", func(t tx) error {
		all = nil
		return t.each(ctx, func(rows *sql.Rows) error {
			var id EventID
			err := rows.Scan(&id)
			all = append(all, id)
			return err
		}, listEventIDs+where, args...)
	})
	return all, err
}

// where is what follows `FROM events`.
func (f EventFilter) where() (string, []any) {
	conditions, args := []string{"id > ?"}, []any{f.After}
	if len(f.IDs) > 0 {
		conditions = append(conditions, "id IN (?"+strings.Repeat(", ?", len(f.IDs)-1)+")")
		for _, id := range f.IDs {
			args = append(args, id)
		}
	}
	if !f.Since.IsZero() {
		conditions, args = append(conditions, "at >= ?"), append(args, micros(f.Since))
	}
	if f.Backend != "" {
		conditions, args = append(conditions, "backend = ?"), append(args, f.Backend)
	}
	if f.Host != "" {
		conditions, args = append(conditions, "host = ?"), append(args, f.Host)
	}
	for column, value := range map[string]string{"volume": string(f.Volume), "entry_id": string(f.Entry), "image_id": f.ImageID} {
		if value != "" {
			conditions, args = append(conditions, column+" = ?"), append(args, value)
		}
	}
	if len(f.Kinds) > 0 {
		conditions = append(conditions, "kind IN (?"+strings.Repeat(", ?", len(f.Kinds)-1)+")")
		for _, k := range f.Kinds {
			args = append(args, k)
		}
	}
	where := " WHERE " + strings.Join(conditions, " AND ") + " ORDER BY id"
	if f.Newest {
		where += " DESC"
	}
	if f.Limit > 0 {
		where += " LIMIT " + strconv.Itoa(f.Limit)
	}
	return where, args
}

func scanEvent(rows *sql.Rows) (Event, error) {
	var e Event
	var at, took int64
	err := rows.Scan(&e.ID, &at, &e.Routine, &e.Kind, &e.Backend, &e.ImageID, &e.Entry, &e.Volume,
		&e.Outcome, &e.Reason, &e.Detail, &e.Bytes, &took, &e.Who, &e.Host)
	e.At, e.Took = fromMicros(at), time.Duration(took)*time.Microsecond
	return e, err
}

// TrimEvents brings the events within the catalog's bound, which may have been lowered.
func (c *Catalog) TrimEvents(ctx context.Context) error {
	return c.write(ctx, fmt.Sprintf("keep %d events", c.maxEvents), func(t tx) error {
		for _, routine := range []bool{false, true} {
			if err := t.trimEvents(ctx, routine); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t tx) trimEvents(ctx context.Context, routine bool) error {
	_, err := t.exec(ctx, trimEvents, number(routine), number(routine), t.c.eventRows(routine))
	return err
}

// eventRows is how many events of a class are kept: together they are maxEvents.
func (c *Catalog) eventRows(routine bool) int {
	if routine {
		return c.maxEvents / 2
	}
	return c.maxEvents - c.maxEvents/2
}

// addEvents inserts, in their order, what is not applied yet, and lets the oldest go. now stands in where
// an event has no time.
func (t tx) addEvents(ctx context.Context, events []Event, applied int64, now time.Time) error {
	events = slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.Seq != 0 && e.Seq <= applied })
	for _, routine := range []bool{false, true} {
		events = newest(events, routine, t.c.eventRows(routine))
	}
	if len(events) == 0 {
		return nil
	}
	if err := t.insertEvents(ctx, events, now); err != nil {
		return err
	}
	for _, routine := range []bool{false, true} {
		if !slices.ContainsFunc(events, func(e Event) bool { return e.Routine == routine }) {
			continue
		}
		if err := t.trimEvents(ctx, routine); err != nil {
			return err
		}
	}
	return nil
}

func (t tx) insertEvents(ctx context.Context, events []Event, now time.Time) error {
	return t.prepared(ctx, insertEvent, func(run func(args ...any) error) error {
		for _, e := range events {
			if e.At.IsZero() {
				e.At = now
			}
			if err := run(micros(e.At), number(e.Routine), e.Kind, e.Backend, e.ImageID, e.Entry, e.Volume,
				e.Outcome, e.Reason, e.Detail, e.Bytes, e.Took.Microseconds(), e.Who, e.Host); err != nil {
				return err
			}
		}
		return nil
	})
}

// newest leaves out the oldest events of a class beyond n: they would go as soon as they came.
func newest(events []Event, routine bool, n int) []Event {
	over := -n
	for _, e := range events {
		if e.Routine == routine {
			over++
		}
	}
	if over <= 0 {
		return events
	}
	var kept []Event
	for _, e := range events {
		if e.Routine == routine && over > 0 {
			over--
			continue
		}
		kept = append(kept, e)
	}
	return kept
}
