package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// inRoom runs f with what a decision about room sees, and changes nothing.
func inRoom(ctx context.Context, c *Catalog, own Entry, f func(Holdings) error) error {
	_, err := c.ReserveRoom(ctx, own.ID, own.Attempt, own.ReservedBytes, func(h Holdings) (map[EntryID]EvictCause, error) {
		return nil, f(h)
	})
	return err
}

// inLine tells, apart from the statements, what a line is: from all rows.
func inLine(rows []Entry, l Line) (ids []EntryID) {
	used := func(e Entry) time.Time {
		if e.LastUsedAt.Before(e.CreatedAt) {
			return e.CreatedAt
		}
		return e.LastUsedAt
	}
	slices.SortFunc(rows, func(a, b Entry) int {
		return cmp.Or(used(a).Compare(used(b)), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, e := range rows {
		if e.Store == "local" && e.State == Ready && !e.Pinned && (e.Clones > 0) == l.InUse && e.Hits >= l.MinHits && (l.BelowHits == 0 || e.Hits < l.BelowHits) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func TestALineIsInOrder(t *testing.T) {
	c := open(t, anew(t), nil)
	unsynced(t, c)
	rapid.Check(t, func(rt *rapid.T) {
		if err := emptied(rt.Context(), c, "entries"); err != nil {
			rt.Fatal(err)
		}
		own := mustFill(t, c, spec("own"))
		var rows []Entry
		for i := range rapid.IntRange(0, 20).Draw(rt, "entries") {
			e := drawEntry(rt, i)
			if err := c.write(rt.Context(), "insert", func(t tx) error { return t.insert(rt.Context(), e) }); err != nil {
				rt.Fatal(err)
			}
			rows = append(rows, e)
		}
		lines := []Line{{}, {InUse: true}}
		for _, m := range []int64{1, 2, 8, 9, 12} {
			lines = append(lines, Line{BelowHits: m}, Line{InUse: true, BelowHits: m}, Line{MinHits: m}, Line{InUse: true, MinHits: m})
		}
		err := inRoom(rt.Context(), c, own, func(h Holdings) error {
			for _, l := range lines {
				var got []EntryID
				want := inLine(rows, l)
				want = want[:rapid.IntRange(0, len(want)).Draw(rt, "as far as")]
				for e, err := range h.Line(rt.Context(), l) {
					if err != nil {
						return err
					}
					if len(got) == len(want) {
						break
					}
					got = append(got, e.ID)
				}
				if !slices.Equal(got, want) {
					rt.Fatalf("line %+v: got %v, want %v", l, got, want)
				}
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func drawEntry(t *rapid.T, i int) Entry {
	at := func(name string) time.Time {
		return time.Date(2026, 3, 1, 12, 0, rapid.IntRange(0, 5).Draw(t, name), 0, time.UTC)
	}
	e := Entry{
		ID: EntryID(fmt.Sprint("e", i)), Store: "local", Key: Key(fmt.Sprint("k", i)), Attempt: 1,
		State:     rapid.SampledFrom([]State{Ready, Ready, Ready, Ready, Evicting, Detached, Failed}).Draw(t, "state"),
		HeldBytes: rapid.Int64Range(0, 9).Draw(t, "held"), Pinned: rapid.IntRange(0, 4).Draw(t, "pinned") == 0,
		Hits: rapid.Int64Range(0, 12).Draw(t, "hits"), Clones: max(0, rapid.IntRange(-2, 2).Draw(t, "clones")),
		CreatedAt: at("created"), LastUsedAt: at("used"),
	}
	if rapid.IntRange(0, 9).Draw(t, "elsewhere") == 0 {
		e.Store = "other"
	}
	return e
}

func TestMadeIsWhatWasMadeBetween(t *testing.T) {
	c, at := fresh(t)
	begun := at.now()
	mustReady(t, c, spec("at the beginning"), 1)
	at.add(time.Minute)
	mustReady(t, c, spec("a"), 10)
	inUse := mustReady(t, c, spec("b"), 20)
	is(t, "observe", c.Observe(t.Context(), []Observation{{ID: inUse.ID, HeldBytes: 20, Clones: 2}}), nil)
	pinned := mustReady(t, c, spec("pinned"), 40)
	mustPin(t, c, pinned.ID, true)
	end := at.now()
	at.add(time.Microsecond)
	mustReady(t, c, spec("too late"), 80)
	own := mustFill(t, c, spec("own"))
	var got []Total
	err := inRoom(t.Context(), c, own, func(h Holdings) (err error) {
		got, err = h.Made(t.Context(), begun, end)
		return err
	})
	is(t, "made", err, nil)
	want := []Total{
		{Store: "local", State: Ready, Entries: 1, CountedBytes: 10, HeldBytes: 10},
		{Store: "local", State: Ready, InUse: true, Entries: 1, CountedBytes: 20, HeldBytes: 20},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// what is asked at each step of a fill, or by people who wait, goes by indexes and sorts nothing
func TestSQLiteGoesThroughNoTable(t *testing.T) {
	c := open(t, inFile(filepath.Join(t.TempDir(), "catalog.db")), nil)
	line := func(l Line) string { stmt, _ := l.statement(sqliteDialect, "local"); return stmt }
	for name, stmt := range map[string]string{
		"idle": line(Line{}), "unproven": line(Line{BelowHits: 3}), "proven": line(Line{MinHits: 3}),
		"hardly proven": line(Line{BelowHits: 20}), "young": sumMade, "superseded": line(Line{Superseded: true}),
		"beginning": selectBeginning, "ending": selectEnding + sqliteDialect.ending + endingOrder, "totals of a store": storeTotals, "claims": projectTotal,
	} {
		args := make([]any, strings.Count(stmt, "?"))
		err := c.read(t.Context(), "explain", func(x tx) error {
			return x.each(t.Context(), func(rows *sql.Rows) error {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					return err
				}
				if strings.Contains(detail, "TEMP B-TREE") && name != "ending" || strings.HasPrefix(detail, "SCAN") {
					t.Errorf("%s: %s", name, detail)
				}
				return nil
			}, "EXPLAIN QUERY PLAN "+stmt, args...)
		})
		is(t, name, err, nil)
	}
}
