package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

var allOrders = []Order{ByAge, ByHeld, ByHits, ByUsed, ByClones}

// mixed are entries of two stores in all states, with few different figures, so that many are equal in each order.
func mixed(t *testing.T, c *Catalog, n int) []Entry {
	t.Helper()
	states := []State{Filling, Ready, Ready, Ready, Evicting, Detached, Failed}
	err := c.write(t.Context(), "insert", func(x tx) error {
		for i := range n {
			e := Entry{
				ID: EntryID(fmt.Sprintf("e-%03d", i*37%n)), Store: []backends.StoreID{"local", "other"}[i%2], Key: Key(fmt.Sprint("k", i)), Attempt: 1, State: states[i%7],
				ReservedBytes: int64(i % 3), HeldBytes: int64(i % 5), Hits: int64(i % 11), Clones: i % 4, LastUsedAt: fromMicros(int64(i % 6)), CreatedAt: time.Unix(int64(i), 0),
			}
			if err := x.insert(t.Context(), e); err != nil {
				return err
			}
			for _, image := range []string{fmt.Sprint("lib:Image-", i), fmt.Sprintf("lib:50%%_%d", i%10)} {
				if err := x.addImage(t.Context(), e.ID, image, "", time.Unix(1, 0)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	is(t, "insert", err, nil)
	all, err := c.List(t.Context(), Filter{})
	is(t, "list", err, nil)
	return all
}

// chosen is what a list is, by sorting all entries.
func chosen(all []Entry, f Filter) []EntryID {
	some := slices.DeleteFunc(slices.Clone(all), func(e Entry) bool {
		has := func(name string) bool { return strings.Contains(name, f.Contains) }
		return f.Store != "" && e.Store != f.Store || len(f.States) > 0 && !slices.Contains(f.States, e.State) ||
			!slices.ContainsFunc(append([]string{string(e.ID)}, e.ImageIDs...), has)
	})
	if f.Order != ByAge {
		slices.SortFunc(some, func(a, b Entry) int {
			return cmp.Or(cmp.Compare(f.Order.PlaceOf(b).Value, f.Order.PlaceOf(a).Value), cmp.Compare(b.ID, a.ID))
		})
	}
	ids := make([]EntryID, len(some))
	for i, e := range some {
		ids[i] = e.ID
	}
	return ids
}

// paged are all pages of a list, each from where the one before says that it was left.
func paged(t *testing.T, c *Catalog, f Filter) []Entry {
	t.Helper()
	var all []Entry
	for {
		page, err := c.List(t.Context(), f)
		if err != nil || len(page) > f.Limit {
			t.Fatalf("%+v: %d entries, %v", f, len(page), err)
		}
		if all = append(all, page...); len(page) < f.Limit || len(all) > 1000 {
			return all
		}
		var ok bool
		if f.After, ok = f.Order.ParsePlace(f.Order.Text(f.Order.PlaceOf(page[len(page)-1]))); !ok {
			t.Fatalf("%+v: its last entry is nowhere", f)
		}
	}
}

func TestPagesAreTheListInItsOrder(t *testing.T) {
	c, _ := fresh(t)
	all := mixed(t, c, 120)
	byID := make(map[EntryID]Entry, len(all))
	for _, e := range all {
		byID[e.ID] = e
	}
	for _, order := range allOrders {
		for _, f := range []Filter{
			{}, {Store: "other"}, {States: []State{Ready}}, {States: []State{Filling, Ready, Evicting, Detached}, Store: "local"}, {States: []State{Failed}},
			{Contains: "age-7"}, {Contains: "AGE-7"}, {Contains: "e-05"}, {Contains: "50%_3", States: []State{Ready}}, {Contains: "50x"}, {Contains: "'; --"},
		} {
			f.Order, f.Limit = order, 7
			var got []EntryID
			for _, e := range paged(t, c, f) {
				got = append(got, e.ID)
				same(t, "listed", e, byID[e.ID])
			}
			if want := chosen(all, f); !slices.Equal(got, want) {
				t.Errorf("%+v: got %v, want %v", f, got, want)
			}
			f.Limit = 0
			whole, err := c.List(t.Context(), f)
			is(t, "whole", err, nil)
			if want := chosen(all, f); !slices.EqualFunc(whole, want, func(e Entry, id EntryID) bool { return e.ID == id }) {
				t.Errorf("%+v, whole: want %v", f, want)
			}
		}
	}
}

// Those who turn pages while entries come, move and go see each that stays where it was, once.
func TestAPageGoesOnWhereTheLastOneEnded(t *testing.T) {
	c, _ := fresh(t)
	mixed(t, c, 40)
	f := Filter{Order: ByHits, Limit: 10}
	first, err := c.List(t.Context(), f)
	is(t, "first", err, nil)
	last := first[len(first)-1]
	f.After = f.Order.PlaceOf(last)
	want, err := c.List(t.Context(), f)
	is(t, "second", err, nil)
	err = c.write(t.Context(), "change", func(x tx) error {
		_, gone := x.exec(t.Context(), `DELETE FROM entries WHERE id = ?`, last.ID)
		_, moved := x.exec(t.Context(), `UPDATE entries SET hits = 99 WHERE id = ?`, first[0].ID)
		return errors.Join(gone, moved)
	})
	is(t, "change", err, nil)
	got, err := c.List(t.Context(), f)
	is(t, "second again", err, nil)
	if len(got) != len(want) {
		t.Errorf("got %d entries, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		same(t, "second page", got[i], want[i])
	}
}

func TestAPlaceOfAnotherOrderIsRefused(t *testing.T) {
	for _, text := range []string{"e-001", ":e-001", "7:", "x:e-001", "99999999999999999999:e"} {
		if p, ok := ByHits.ParsePlace(text); ok {
			t.Errorf("%q: got %+v", text, p)
		}
	}
}

// A page of a catalog that is large costs no sorting: the rows come in the order of an index.
func TestAPageIsReadInTheOrderOfAnIndex(t *testing.T) {
	c, _ := fresh(t)
	mixed(t, c, 10)
	explain := "EXPLAIN QUERY PLAN "
	switch c.place.scheme {
	case schemeMariaDB:
		explain = "EXPLAIN "
	case schemePostgres:
		return // it goes by what it has counted, and sorts few rows
	}
	for _, order := range allOrders {
		for _, f := range []Filter{{}, {States: []State{Ready}}, {Store: "local", States: []State{Filling, Ready, Evicting, Detached}}, {Contains: "7"}} {
			f.Order, f.Limit, f.After = order, 5, ListPlace{ID: "e-005", Value: 2}
			where, args := f.where(c.dialect)
			_, index := order.column()
			err := c.read(context.WithoutCancel(t.Context()), "explain", func(x tx) error {
				return x.each(t.Context(), func(rows *sql.Rows) error {
					columns, err := rows.Columns()
					if err != nil {
						return err
					}
					values, err := scanAny(rows, len(columns))
					if text := strings.ToLower(fmt.Sprint(values...)); strings.Contains(text, "filesort") || strings.Contains(text, "order by") {
						t.Errorf("%+v: %s", f, text)
					}
					return err
				}, explain+"SELECT e.id FROM entries e"+c.dialect.through(index)+where, args...)
			})
			is(t, "explain", err, nil)
		}
	}
}
