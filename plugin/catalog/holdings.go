package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// Holdings is what counts against a store's bounds, without the row of the fill that asks and those of fills that made no room yet. It is of the
// transaction of ReserveRoom, and of use only while that decides.
type Holdings struct {
	Totals []Total // of entries in every state but failed, in no order

	t     tx
	store backends.StoreID
}

// holdings is what counts against the bounds of own's store, but for own, which is filling, and for fills that made no
// room yet.
func (t tx) holdings(ctx context.Context, own Entry) (Holdings, error) {
	totals, err := t.totals(ctx, storeTotals, own.Store)
	if err != nil {
		return Holdings{}, err
	}
	totals = slices.DeleteFunc(totals, func(s Total) bool { return s.State == Failed })
	waiting, err := t.withoutRoom(ctx, own)
	if err != nil {
		return Holdings{}, err
	}
	group := Total{Store: own.Store, State: own.State, Pinned: own.Pinned, InUse: own.Clones > 0}
	for i := range totals {
		s := &totals[i]
		if s.State == Filling {
			s.Entries -= waiting[s.Pinned]
		}
		if s.group() == group {
			s.Entries, s.CountedBytes, s.HeldBytes = s.Entries-1, s.CountedBytes-own.CountedBytes(), s.HeldBytes-own.HeldBytes
		}
	}
	if err := t.countVolumes(ctx, own, totals); err != nil {
		return Holdings{}, err
	}
	return Holdings{Totals: totals, t: t, store: own.Store}, nil
}

const sumMade = `SELECT in_use, COUNT(*), SUM(CASE WHEN reserved_bytes > held_bytes THEN reserved_bytes ELSE held_bytes END), SUM(held_bytes)
	FROM entries WHERE store = ? AND state = 'ready' AND pinned = 0 AND in_use IN (0, 1) AND created_at > ? AND created_at <= ? GROUP BY in_use`

// Made adds up the ready entries that are not pinned and were made after the one time, at the latest at
// the other: those in use, and those that are not. It takes time in proportion to how many these are.
func (h Holdings) Made(ctx context.Context, after, until time.Time) ([]Total, error) {
	var all []Total
	err := h.t.each(ctx, func(rows *sql.Rows) error {
		s := Total{Store: h.store, State: Ready}
		err := rows.Scan(&s.InUse, &s.Entries, &s.CountedBytes, &s.HeldBytes)
		all = append(all, s)
		return err
	}, sumMade, h.store, after.UnixMicro(), until.UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("sum entries made after %s: %w", after.Format(time.RFC3339), err)
	}
	return all, nil
}

// Line is some of the ready entries that are not pinned.
type Line struct {
	InUse bool
	// Superseded ones, whatever their hits, or those that are not.
	Superseded bool
	MinHits    int64 // with at least so many hits
	BelowHits  int64 // with fewer; 0: no end
}

// fewHits bounds the index of entries with few hits.
const fewHits = 8

const (
	lineColumns = `SELECT id, reserved_bytes, held_bytes, hits, clones, created_at, filled_at, last_used_at, used_at
		FROM entries WHERE store = ? AND state = 'ready' AND pinned = 0 AND in_use = ? AND `
	lineOfFew  = ` AND hits < 8 AND hits = ?`
	lineFrom   = ` AND hits >= ?`
	lineWithin = ` AND hits >= ? AND hits < ?`
	lineOrder  = ` ORDER BY used_at, created_at, id`
)

// part is a statement, without its order.
type part struct {
	stmt string
	args []any
}

// parts select a line: an index has the order of each.
func (l Line) parts(d dialect, store backends.StoreID) []part {
	all := []any{store, number(l.InUse)}
	with := func(condition string, args ...any) part {
		return part{lineColumns + d.current + condition, slices.Concat(all, args)}
	}
	switch {
	case l.Superseded:
		return []part{{lineColumns + d.superseded, all}}
	case l.BelowHits == 0:
		return []part{with(lineFrom, l.MinHits)}
	}
	var parts []part
	from := l.MinHits
	for ; from < min(l.BelowHits, fewHits); from++ {
		parts = append(parts, with(lineOfFew, from))
	}
	if from < l.BelowHits || len(parts) == 0 {
		parts = append(parts, with(lineWithin, from, l.BelowHits))
	}
	return parts
}

// statement selects the line, in its order and without sorting: an index has that for each number of
// hits below fewHits, another one for all.
func (l Line) statement(d dialect, store backends.StoreID) (string, []any) {
	var stmts []string
	var args []any
	for _, p := range l.parts(d, store) {
		stmts, args = append(stmts, p.stmt), append(args, p.args...)
	}
	return strings.Join(stmts, " UNION ALL ") + lineOrder, args
}

// page selects so many of the line after the first ones; each part reads no further than that.
func (l Line) page(d dialect, store backends.StoreID, first, n int) (string, []any) {
	window := lineOrder + " LIMIT " + strconv.Itoa(n) + " OFFSET " + strconv.Itoa(first)
	parts := l.parts(d, store)
	if len(parts) == 1 {
		return parts[0].stmt + window, parts[0].args
	}
	var stmts []string
	var args []any
	for _, p := range parts {
		stmts, args = append(stmts, "("+p.stmt+lineOrder+" LIMIT "+strconv.Itoa(first+n)+")"), append(args, p.args...)
	}
	return strings.Join(stmts, " UNION ALL ") + window, args
}

// errEnough ends a statement whose further rows nobody wants.
var errEnough = errors.New("enough")

// firstPage is how many entries of a line a server is asked for first; then for twice as many each time.
const firstPage = 32

// Line yields entries in the order of their last use, at the earliest when they were made, then of when
// they were made, then of IDs. They are read as far as they are asked for. Of each, only what decides is
// set: ID, Store, State, ReservedBytes, HeldBytes, Hits, Clones and the times CreatedAt, FilledAt and
// LastUsedAt. An error ends it.
func (h Holdings) Line(ctx context.Context, l Line) iter.Seq2[Entry, error] {
	read := h.pages
	if h.t.c.dialect.streams {
		read = h.stream
	}
	return func(yield func(Entry, error) bool) {
		err := read(ctx, l, func(e Entry) bool { return yield(e, nil) })
		if err != nil && !errors.Is(err, errEnough) {
			yield(Entry{}, fmt.Errorf("list entries of %s by use: %w", h.store, err))
		}
	}
}

func (h Holdings) stream(ctx context.Context, l Line, next func(Entry) bool) error {
	stmt, args := l.statement(h.t.c.dialect, h.store)
	return h.t.each(ctx, func(rows *sql.Rows) error {
		e, err := h.scanLine(rows)
		if err == nil && !next(e) {
			err = errEnough
		}
		return err
	}, stmt, args...)
}

// pages reads a page whole before it hands it on: a connection has one statement at a time. Where hits move an entry
// meanwhile, it comes once all the same.
func (h Holdings) pages(ctx context.Context, l Line, next func(Entry) bool) error {
	seen := make(map[EntryID]bool)
	for first, n := 0, firstPage; ; first, n = first+n, 2*n {
		var page []Entry
		stmt, args := l.page(h.t.c.dialect, h.store, first, n)
		err := h.t.each(ctx, func(rows *sql.Rows) error {
			e, err := h.scanLine(rows)
			page = append(page, e)
			return err
		}, stmt, args...)
		if err != nil {
			return err
		}
		for _, e := range page {
			if !seen[e.ID] && !next(e) {
				return errEnough
			}
			seen[e.ID] = true
		}
		if len(page) < n {
			return nil
		}
	}
}

func (h Holdings) scanLine(rows *sql.Rows) (Entry, error) {
	e := Entry{Store: h.store, State: Ready}
	var created, filled, lastUsed, used int64
	err := rows.Scan(&e.ID, &e.ReservedBytes, &e.HeldBytes, &e.Hits, &e.Clones, &created, &filled, &lastUsed, &used)
	e.CreatedAt, e.FilledAt, e.LastUsedAt = fromMicros(created), fromMicros(filled), fromMicros(lastUsed)
	return e, err
}
