package catalog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/words"
)

// everything is what a catalog says of itself.
type everything struct {
	Entries   []Entry
	Aliases   map[Key][]EntryID
	Stores    []Store
	Events    []Event
	Requests  []RequestStat
	Fills     []FillStat
	Evictions []EvictionStat
	Sums      Sums
	Claims    []internaltenant.LedgerClaim
	Applied   int64
	Held      any
	Queue     []Queued
	ID        string
}

func all(t *testing.T, c *Catalog) everything {
	t.Helper()
	ctx := t.Context()
	var e everything
	var errs [12]error
	var id any
	e.Entries, errs[0] = c.List(ctx, Filter{})
	e.Aliases, errs[1] = c.Aliases(ctx)
	e.Stores, errs[2] = c.Stores(ctx)
	e.Events, errs[3] = c.Events(ctx, EventFilter{})
	e.Requests, errs[4] = c.Requests(ctx, time.Time{})
	e.Fills, errs[5] = c.Fills(ctx, time.Time{})
	e.Evictions, errs[6] = c.Evictions(ctx, time.Time{})
	e.Claims, errs[7] = c.Ledger().Claims(ctx, "p")
	e.Applied, errs[8] = c.Applied(ctx, "daemon")
	e.Held, errs[9] = c.Held(ctx)
	e.Queue, errs[10] = c.Queue(ctx)
	e.Sums, errs[11] = c.SumsIn(ctx, Span{})
	id, err := c.Identify(ctx, "another")
	e.ID = reflect.ValueOf(id).String()
	if err := errors.Join(append(errs[:], err)...); err != nil {
		t.Fatal(err)
	}
	return e
}

// written puts something into every table.
func written(t *testing.T, c *Catalog) {
	t.Helper()
	ctx := t.Context()
	_, err := c.Identify(ctx, "installation")
	is(t, "identify", err, nil)
	_, err = c.Bind(ctx, Store{ID: "local", Name: "fast", Kind: "file", Location: "/srv"}, "")
	is(t, "bind", err, nil)
	pinned := mustReady(t, c, spec("pinned"), 10)
	is(t, "alias", c.AddImage(ctx, pinned.ID, "web:ünï \\ ' quoted", words.RevisionKey("web:ünï", "1", "raw")), nil)
	mustPin(t, c, pinned.ID, true)
	mustFill(t, c, spec("filling"))
	failed := mustFill(t, c, spec("failed"))
	is(t, "fail", c.FailFill(ctx, failed.ID, 1, Failure{Text: "broken", Record: "{}", RetryAfter: failed.CreatedAt.Add(time.Hour)}), nil)
	gone := mustReady(t, c, spec("gone"), 20)
	_, err = c.BeginEvict(ctx, gone.ID, "size")
	is(t, "evict", err, nil)
	is(t, "remove", c.Remove(ctx, gone.ID), nil)
	detached := mustReady(t, c, spec("detached"), 30)
	_, err = c.BeginEvict(ctx, detached.ID, "size")
	is(t, "evict", err, nil)
	is(t, "detach", c.SetDetached(ctx, detached.ID, 2, 30), nil)
	is(t, "fill", c.RecordFill(ctx, FillRecord{At: gone.FilledAt, Store: "local", ImageID: "i", Took: time.Second, SourceBytes: 5}), nil)
	_, err = c.Ledger().Reserve(ctx, internaltenant.LedgerClaim{ProjectID: "p", EntryID: pinned.ID, Attempt: 1, Gigabytes: 3}, 0, 0)
	is(t, "claim", err, nil)
	queue(t, c, "web:ünï", 3, "local", "fast")
	mustTake(t, c, me, "web:ünï local", "web:ünï fast")
	var events []Event
	for range 2*batchRows + 7 {
		events = append(events, Event{At: gone.FilledAt, Kind: "hit", Detail: "some"})
	}
	is(t, "record", c.Record(ctx, "daemon", 7, []Request{{Seq: 7, At: gone.FilledAt, Backend: "fast", ImageID: "i", Entry: pinned.ID, Outcome: "hit", SavedBytes: 9}}, events...), nil)
}

func keepingAll(cfg Config) Config {
	cfg.Now, cfg.MaxEvents = newClock().now, 10_000
	return cfg
}

func TestACopyIsWhatTheCatalogWas(t *testing.T) {
	from, to, back := keepingAll(anew(t)), keepingAll(inFile(filepath.Join(t.TempDir(), "catalog.db"))), keepingAll(anew(t))
	c := open(t, from, from.Now)
	c.maxEvents = from.MaxEvents
	written(t, c)
	want := all(t, c)
	if len(want.Sums.Latencies) == 0 || len(want.Sums.Work) == 0 {
		t.Fatalf("nothing is summed: %+v", want.Sums)
	}
	for _, step := range []struct {
		name     string
		from, to Config
	}{{"to a file", from, to}, {"and back", to, back}} {
		rows, err := Copy(t.Context(), step.from, step.to)
		if err != nil || rows["entries"] != 4 || rows["events"] != int64(len(want.Events)) || rows["claims"] != 1 {
			t.Fatalf("%s: %v, %v", step.name, rows, err)
		}
		into := open(t, step.to, step.to.Now)
		into.maxEvents = 10_000
		if got := all(t, into); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", step.name, got, want)
		}
		notMiscounted(t, into)
		// what comes afterwards does not meet what was copied
		is(t, "an event more", into.Record(t.Context(), "daemon", 7, nil, Event{Kind: "later"}), nil)
		ids := eventIDs(t, into)
		if !slices.IsSorted(ids) || len(ids) != len(want.Events)+1 {
			t.Errorf("%s: %d events after one more", step.name, len(ids))
		}
		_, err = Copy(t.Context(), from, step.to)
		is(t, step.name+" once more", err, ErrNotEmpty)
		want = all(t, into)
	}
}

func TestACopyThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	absent, target := inFile(filepath.Join(dir, "absent.db")), filepath.Join(dir, "target.db")
	_, err := Copy(t.Context(), absent, inFile(target))
	is(t, "of nothing", err, fs.ErrNotExist)
	_, err = Copy(t.Context(), Config{Access: Access{URL: "nonsense"}}, inFile(target))
	if err == nil || !strings.Contains(err.Error(), "not a URL") {
		t.Errorf("of nonsense: %v", err)
	}
	const trigger = `CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END`
	half := open(t, inFile(filepath.Join(dir, "half.db")), nil)
	if _, err := half.writer.ExecContext(t.Context(), trigger); err != nil {
		t.Fatal(err)
	}
	from := Config{Access: Access{URL: inFile(filepath.Join(dir, "source.db")).URL}}
	source := open(t, keepingAll(from), newClock().now)
	source.maxEvents = 10
	written(t, source)
	if _, err := Copy(t.Context(), from, inFile(filepath.Join(dir, "half.db"))); err == nil {
		t.Error("the last table was refused, and it was copied")
	}
	if entries, err := half.List(t.Context(), Filter{}); err != nil || len(entries) != 0 {
		t.Errorf("half a copy: %v, %v", entries, err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "*target*")); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
	if _, err := os.Stat(filepath.Join(dir, "absent.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a source was made: %v", err)
	}
}
