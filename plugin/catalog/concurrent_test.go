package catalog

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// two opens the same catalog twice, as two processes do.
func two(t *testing.T, now func() time.Time) [2]*Catalog {
	t.Helper()
	cfg := anew(t)
	return [2]*Catalog{open(t, cfg, now), open(t, cfg, now)}
}

func TestOfManyThatBeginOneStarts(t *testing.T) {
	both := two(t, nil)
	var started, busy atomic.Int64
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			s := spec("k")
			s.Holder.Incarnation = fmt.Sprint(n)
			_, _, start, err := both[n%2].BeginFill(t.Context(), s)
			switch {
			case err != nil:
				t.Error(err)
			case start == Started:
				started.Add(1)
			case start == Busy:
				busy.Add(1)
			}
		})
	}
	wg.Wait()
	if started.Load() != 1 || busy.Load() != 99 {
		t.Errorf("%d started, %d busy", started.Load(), busy.Load())
	}
}

func TestOfManyThatTakeOverOneStarts(t *testing.T) {
	at := newClock()
	both := two(t, at.now)
	mustFill(t, both[0], spec("k"))
	at.add(2 * lease)
	var started atomic.Int64
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			s := spec("k")
			s.Holder = Holder{Instance: InstanceID(fmt.Sprint("host", n))}
			e, previous, start, err := both[n%2].BeginFill(t.Context(), s)
			if err != nil {
				t.Error(err)
			}
			if start == Started {
				started.Add(1)
				if e.Attempt != 2 || previous.Attempt != 1 {
					t.Errorf("attempt %d after %d", e.Attempt, previous.Attempt)
				}
			}
		})
	}
	wg.Wait()
	if started.Load() != 1 {
		t.Errorf("%d started", started.Load())
	}
}

// TestRoomIsNeverGivenTwice lets many fills reserve at once where only some fit.
func TestRoomIsNeverGivenTwice(t *testing.T) {
	both := two(t, nil)
	const bound, each, fills = 100, 30, 12
	full := errors.New("full")
	var wg sync.WaitGroup
	for n := range fills {
		wg.Go(func() {
			e := mustFill(t, both[n%2], spec(Key(fmt.Sprint("k", n))))
			_, err := both[n%2].ReserveRoom(t.Context(), e.ID, 1, each, func(h Holdings) (map[EntryID]EvictCause, error) {
				if countedBytes(h)+each > bound {
					return nil, full
				}
				return nil, nil
			})
			if err != nil && err != full {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	entries, err := both[0].List(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var used int64
	for _, e := range entries {
		used += e.CountedBytes()
	}
	if len(entries) != fills || used != bound/each*each {
		t.Errorf("%d entries count %d bytes", len(entries), used)
	}
}

func TestOfManyThatEvictOneDoes(t *testing.T) {
	both := two(t, nil)
	e := mustReady(t, both[0], spec("k"), 10)
	var evicted atomic.Int64
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			_, err := both[n%2].BeginEvict(t.Context(), e.ID, CauseAdmin)
			switch {
			case err == nil:
				evicted.Add(1)
			case !errors.Is(err, ErrLost) && !errors.Is(err, ErrNotFound):
				t.Error(err)
			}
			if err := both[n%2].Remove(t.Context(), e.ID); err != nil && !errors.Is(err, ErrLost) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	stats, err := both[1].Evictions(t.Context(), time.Time{})
	if err != nil || evicted.Load() != 1 || len(stats) != 1 || stats[0].Count != 1 {
		t.Errorf("%d evicted, counted %+v, %v", evicted.Load(), stats, err)
	}
}

func TestContentThatTwoFindAtOnceIsPublishedOnce(t *testing.T) {
	both := two(t, nil)
	var ready, duplicates atomic.Int64
	var wg sync.WaitGroup
	for n := range 10 {
		wg.Go(func() {
			rev := Key(fmt.Sprint("rev:", n))
			e := mustFill(t, both[n%2], spec(rev))
			p := published("content", 10)
			p.RevisionKey = rev
			_, duplicate, err := both[n%2].Publish(t.Context(), e.ID, 1, p)
			switch {
			case err != nil:
				t.Error(err)
			case duplicate == nil:
				ready.Add(1)
			default:
				duplicates.Add(1)
				if err := both[n%2].ForgetFill(t.Context(), e.ID, 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	entries, err := both[0].List(t.Context(), Filter{})
	if err != nil || ready.Load() != 1 || duplicates.Load() != 9 || len(entries) != 1 {
		t.Fatalf("%d ready, %d duplicates, %d entries, %v", ready.Load(), duplicates.Load(), len(entries), err)
	}
	for n := range 10 {
		e, err := both[1].Find(t.Context(), "local", "project:p1", Key(fmt.Sprint("rev:", n)))
		if err != nil || e.ID != entries[0].ID {
			t.Errorf("rev:%d: %v, %v", n, e.ID, err)
		}
	}
}

func TestRecordsOfSeveralFlushesCountOnce(t *testing.T) {
	both := two(t, nil)
	e := mustReady(t, both[0], spec("k"), 10)
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() { // each knows all up to its own
			var requests []Request
			for seq := range int64(n + 1) {
				requests = append(requests, Request{Seq: seq + 1, Backend: "local", Entry: e.ID, Outcome: "hit"})
			}
			if err := both[n%2].Record(t.Context(), "host", int64(n+1), requests); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	stats, err := both[0].Requests(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var counted int64
	for _, s := range stats {
		counted += s.Requests
	}
	if hits := mustGet(t, both[1], e.ID).Hits; hits != 20 || counted != 20 {
		t.Errorf("%d hits, %d requests", hits, counted)
	}
}

func TestSQLiteIsOpenedByManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			c, err := Open(t.Context(), inFile(path))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := c.List(t.Context(), Filter{}); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
