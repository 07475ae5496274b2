package lru

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is a time some minutes after the epoch.
func at(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }

// entry is an idle entry of 10 bytes that was created at the epoch and used some minutes later.
func entry(id string, usedAt int, change ...func(*Entry)) Entry {
	e := Entry{ID: id, Bytes: 10, Created: epoch, LastUsed: at(usedAt)}
	for _, c := range change {
		c(&e)
	}
	return e
}

func bytes(n int64) func(*Entry)   { return func(e *Entry) { e.Bytes = n } }
func clones(n int) func(*Entry)    { return func(e *Entry) { e.Clones = n } }
func hits(n int64) func(*Entry)    { return func(e *Entry) { e.Hits = n } }
func created(min int) func(*Entry) { return func(e *Entry) { e.Created = at(min) } }
func neverUsed(e *Entry)           { e.LastUsed = time.Time{} }
func pinned(e *Entry)              { e.Pinned = true }
func filling(e *Entry)             { e.Filling = true }
func evicting(e *Entry)            { e.Evicting = true }
func load(entries ...Entry) Load   { return Load{Entries: entries} }
func victims(s ...string) []string { return s }
func one(bytes int64) Need         { return Need{Bytes: bytes, Count: 1} }
func show(vs []Victim) (s []string) {
	for _, v := range vs {
		s = append(s, fmt.Sprintf("%s:%s", v.ID, v.Cause))
	}
	return s
}

func TestPlan(t *testing.T) {
	capacity := func(total, detached int64, entries ...Entry) Load {
		return Load{Entries: entries, CapacityBytes: total, DetachedBytes: detached}
	}
	tests := []struct {
		name string
		need Need
		load Load
		b    Bounds
		want []string
		err  error
	}{
		{name: "no bounds", need: one(1 << 60), load: load(entry("a", 1))},
		{name: "fits exactly", need: one(10), load: load(entry("a", 1)), b: Bounds{MaxBytes: 20, MaxCount: 2}},
		{
			name: "count alone takes the least recently used", need: one(0), b: Bounds{MaxCount: 2},
			load: load(entry("new", 9), entry("old", 1)), want: victims("old:count"),
		},
		{
			name: "size alone", need: one(15), b: Bounds{MaxBytes: 30},
			load: load(entry("a", 1), entry("b", 2), entry("c", 3)), want: victims("a:size", "b:size"),
		},
		{
			name: "size and count, each blamed while it is broken", need: one(15), b: Bounds{MaxBytes: 30, MaxCount: 2},
			load: load(entry("a", 1), entry("b", 2), entry("c", 3)), want: victims("a:size", "b:size"),
		},
		{
			name: "count is broken, size is not", need: one(1), b: Bounds{MaxBytes: 25, MaxCount: 2},
			load: load(entry("a", 1), entry("b", 2, bytes(1)), entry("c", 3)), want: victims("a:count", "b:count"),
		},
		{
			name: "an old one that is not needed after all stays", need: one(100), b: Bounds{MaxBytes: 110},
			load: load(entry("small", 1, bytes(5)), entry("large", 2, bytes(100)), entry("c", 3, bytes(5))),
			want: victims("large:size"),
		},
		{
			name: "idle before in use", need: one(10), b: Bounds{MaxBytes: 30},
			load: load(entry("used", 1, clones(3)), entry("idle", 9), entry("idle2", 10)), want: victims("idle:size"),
		},
		{
			name: "in use where idle is not enough", need: one(20), b: Bounds{MaxBytes: 30},
			load: load(entry("u2", 5, clones(1)), entry("u1", 1, clones(3)), entry("idle", 9)),
			want: victims("idle:size", "u1:size"),
		},
		{
			name: "in use is kept", need: one(20), b: Bounds{MaxBytes: 30, KeepInUse: true},
			load: load(entry("u1", 1, clones(3)), entry("u2", 1, clones(3)), entry("idle", 9)), err: ErrNoRoom,
		},
		{
			name: "pinned, filling and young stay", need: one(10), b: Bounds{MaxCount: 4, MinAge: time.Hour},
			load: load(entry("p", 1, pinned), entry("f", 1, filling), entry("y", 60, created(60)), entry("ok", 90)),
			want: victims("ok:count"),
		},
		{
			name: "created in the future is not young", need: one(10), b: Bounds{MaxCount: 2, MinAge: time.Hour},
			load: load(entry("f", 5000, created(5000)), entry("y", 60, created(60))), want: victims("f:count"),
		},
		{
			name: "nothing that may go", need: one(10), b: Bounds{MaxCount: 3, MinAge: time.Hour},
			load: load(entry("p", 1, pinned), entry("f", 1, filling), entry("y", 60, created(60))), err: ErrNoRoom,
		},
		{
			name: "filling counts with its reservation", need: one(10), b: Bounds{MaxBytes: 30},
			load: load(entry("f", 0, filling, bytes(20)), entry("a", 1)), want: victims("a:size"),
		},
		{
			name: "evicting neither counts nor goes", need: one(10), b: Bounds{MaxBytes: 20, MaxCount: 2},
			load: load(entry("e", 1, evicting), entry("a", 2)),
		},
		{
			name: "never used counts as used when created", need: one(10), b: Bounds{MaxCount: 2},
			load: load(entry("new", 0, neverUsed, created(50)), entry("old", 40)), want: victims("old:count"),
		},
		{
			name: "ties by creation, then ID", need: one(20), b: Bounds{MaxBytes: 30},
			load: load(entry("c", 5), entry("b", 5), entry("a", 5, created(1))), want: victims("b:size", "c:size"),
		},
		{
			name: "larger than size", need: one(31), b: Bounds{MaxBytes: 30}, load: load(entry("a", 1)), err: ErrTooLarge,
		},
		{
			name: "larger than percent", need: one(51), b: Bounds{MaxPercent: 50}, load: capacity(100, 0, entry("a", 1)),
			err: ErrTooLarge,
		},
		{
			name: "percent counts detached bytes", need: one(10), b: Bounds{MaxPercent: 50},
			load: capacity(100, 30, entry("a", 1), entry("b", 2)), want: victims("a:percent"),
		},
		{
			name: "percent gains nothing from those in use", need: one(10), b: Bounds{MaxPercent: 50},
			load: capacity(100, 0, entry("u", 1, clones(1), bytes(40)), entry("i", 2)), want: victims("i:percent"),
		},
		{
			name: "percent, only in use", need: one(20), b: Bounds{MaxPercent: 50},
			load: capacity(100, 0, entry("u", 1, clones(1), bytes(40))), err: ErrNoRoom,
		},
		{
			name: "percent counts evicting ones with clones", need: one(20), b: Bounds{MaxPercent: 50},
			load: capacity(100, 0, entry("u", 1, clones(1), evicting, bytes(40))), err: ErrNoRoom,
		},
		{
			name: "percent of an unknown capacity is no bound", need: one(1 << 50), b: Bounds{MaxPercent: 1},
			load: capacity(0, 0, entry("a", 1)),
		},
		{
			name: "detached bytes leave size alone", need: one(10), b: Bounds{MaxBytes: 20}, load: capacity(100, 99, entry("a", 1)),
		},
		{
			name: "proven ones go last, in use or not", need: one(20), b: Bounds{MaxBytes: 30, MinHits: 2},
			load: load(entry("proven", 1, hits(2)), entry("once", 8, hits(1), clones(1)), entry("none", 9)),
			want: victims("none:size", "once:size"),
		},
		{
			name: "proven ones go where the others are not enough", need: one(10), b: Bounds{MaxCount: 2, MinHits: 2},
			load: load(entry("b", 2, hits(9)), entry("a", 1, hits(5))), want: victims("a:count"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := plan(at(100), tt.need, tt.load, tt.b)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if !slices.Equal(show(got), tt.want) {
				t.Errorf("victims = %v, want %v", show(got), tt.want)
			}
		})
	}
}

func TestShortageSaysWhatStandsInTheWay(t *testing.T) {
	l := Load{DetachedBytes: 7, CapacityBytes: 100, Entries: []Entry{
		entry("p", 1, pinned), entry("f", 1, filling), entry("y", 99, created(99)), entry("u", 1, clones(1)),
		entry("e", 1, evicting), entry("x", 1, evicting, clones(1)), entry("idle", 1),
	}}
	tests := []struct {
		name string
		b    Bounds
		want string
	}{
		{
			"size", Bounds{MaxBytes: 30, MinAge: time.Hour, KeepInUse: true},
			"no room: 10 bytes needed, max_size allows 30; kept: filling 10, pinned 10, younger than min_age 10, in use 10",
		},
		{
			"count", Bounds{MaxCount: 1},
			"no room: 1 entries needed, max_count allows 1; kept: filling 1, pinned 1",
		},
		{
			"percent", Bounds{MaxPercent: 20},
			"no room: 10 bytes needed, max_percent allows 20; kept: filling 10, pinned 10, in use 10, detached 17",
		},
		{"too large", Bounds{MaxBytes: 9}, "larger than the bound: 10 bytes needed, max_size allows 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := plan(at(100), one(10), l, tt.b)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error = %v\nwant %s", err, tt.want)
			}
			var s *Shortage
			if !errors.As(err, &s) || s.Need == 0 || s.Limit == 0 {
				t.Errorf("no figures in %#v", err)
			}
		})
	}
}

func TestOverflow(t *testing.T) {
	l := load(entry("p", 1, pinned), entry("a", 2), entry("u", 3, clones(1)), entry("b", 4), entry("c", 5))
	tests := []struct {
		name string
		b    Bounds
		want string
	}{
		{"fits", Bounds{MaxBytes: 50, MaxCount: 5}, ""},
		{"lowered count", Bounds{MaxCount: 3}, "a:count b:count"},
		{"lowered size", Bounds{MaxBytes: 25}, "a:size b:size c:size"},
		{"cannot be met: all that helps", Bounds{MaxBytes: 5}, "a:size b:size c:size u:size"},
		{"cannot be met, in use kept", Bounds{MaxBytes: 5, KeepInUse: true}, "a:size b:size c:size"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(show(Overflow(at(100), l, tt.b)), " "); got != tt.want {
				t.Errorf("victims = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAged(t *testing.T) {
	l := load(entry("p", 1, pinned), entry("b", 20), entry("a", 10), entry("u", 3, clones(1)), entry("f", 0, filling),
		entry("e", 0, evicting), entry("new", 0, neverUsed, created(95)), entry("exact", 40))
	if got, want := Aged(at(100), l, time.Hour), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("aged = %v, want %v", got, want)
	}
	if got := Aged(at(100), l, 0); got != nil {
		t.Errorf("aged without a limit = %v", got)
	}
}

func BenchmarkPlan(b *testing.B) {
	const n = 100_000
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = entry(fmt.Sprint(i), (i*7919)%n, clones(i%3))
	}
	for _, bench := range []struct {
		name string
		max  int
	}{{"fits", n + 1}, {"one goes", n}, {"half go", n / 2}} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := plan(at(n), one(10), load(entries...), Bounds{MaxCount: bench.max}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Nobody will ask again for what was superseded: it goes before all that is current, used or not, proven or not.
func TestSupersededEntriesGoFirst(t *testing.T) {
	load := Load{Entries: []Entry{
		{ID: "idle", Bytes: 10, Created: at(1)},
		{ID: "in use", Bytes: 10, Created: at(2), Clones: 1},
		{ID: "superseded in use", Bytes: 10, Created: at(40), LastUsed: at(60), Clones: 2, Superseded: true},
		{ID: "superseded", Bytes: 10, Created: at(50), LastUsed: at(90), Hits: 9, Superseded: true},
		{ID: "superseded and pinned", Bytes: 10, Created: at(1), Pinned: true, Superseded: true},
	}}
	for name, c := range map[string]struct {
		bounds Bounds
		want   []string
	}{
		"all":         {Bounds{MaxBytes: 30}, []string{"superseded", "superseded in use", "idle"}},
		"with hits":   {Bounds{MaxBytes: 30, MinHits: 2}, []string{"superseded", "superseded in use", "idle"}},
		"keep in use": {Bounds{MaxBytes: 40, KeepInUse: true}, []string{"superseded", "idle"}},
	} {
		got, err := Plan(now, Need{Bytes: 10, Count: 1}, load.Stock(), c.bounds)
		var ids []string
		for _, v := range got {
			ids = append(ids, v.ID)
		}
		if err != nil || !slices.Equal(ids, c.want) {
			t.Errorf("%s: got %q, %v, want %q", name, ids, err, c.want)
		}
	}
}
