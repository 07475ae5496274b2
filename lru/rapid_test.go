package lru

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var now = at(100)

func drawEntry(t *rapid.T, id string) Entry {
	e := Entry{
		ID:      id,
		Bytes:   rapid.Int64Range(0, 50).Draw(t, "bytes"),
		Created: at(rapid.IntRange(0, 110).Draw(t, "created")),
		Clones:  max(0, rapid.IntRange(-3, 3).Draw(t, "clones")),
		Hits:    rapid.Int64Range(0, 4).Draw(t, "hits"),

		Superseded: rapid.IntRange(0, 3).Draw(t, "superseded") == 0,
	}
	if rapid.Bool().Draw(t, "was used") {
		e.LastUsed = at(rapid.IntRange(0, 110).Draw(t, "used"))
	}
	switch rapid.IntRange(0, 9).Draw(t, "state") {
	case 0:
		e.Pinned = true
	case 1:
		e.Filling = true
	case 2:
		e.Evicting = true
	}
	return e
}

func drawLoad(t *rapid.T) Load {
	l := Load{
		DetachedBytes: max(0, rapid.Int64Range(-50, 50).Draw(t, "detached")),
		CapacityBytes: max(0, rapid.Int64Range(-100, 1000).Draw(t, "capacity")),
	}
	for i := range rapid.IntRange(0, 15).Draw(t, "entries") {
		l.Entries = append(l.Entries, drawEntry(t, fmt.Sprint(i)))
	}
	return l
}

func drawBounds(t *rapid.T) Bounds {
	optional := func(name string, most int) int { return max(0, rapid.IntRange(-most, most).Draw(t, name)) }
	return Bounds{
		MaxBytes:   int64(optional("max bytes", 300)),
		MaxCount:   optional("max count", 12),
		MaxPercent: optional("max percent", 100),
		KeepInUse:  rapid.Bool().Draw(t, "keep in use"),
		MinAge:     time.Duration(optional("min age", 60)) * time.Minute,
		MinHits:    int64(optional("min hits", 4)),
	}
}

// without is an independent model of what a store counts once gone went.
func without(l Load, gone map[string]bool) (size, count, percent int64) {
	percent = l.DetachedBytes
	for _, e := range l.Entries {
		out := e.Evicting || gone[e.ID]
		if !out {
			size += e.Bytes
			count++
		}
		if !out || e.Clones > 0 {
			percent += e.Bytes
		}
	}
	return size, count, percent
}

// holds tells whether l without gone and with need is within b.
func holds(need Need, l Load, b Bounds, gone map[string]bool) bool {
	size, count, percent := without(l, gone)
	if b.MaxBytes > 0 && size+need.Bytes > b.MaxBytes {
		return false
	}
	if b.MaxCount > 0 && count+int64(need.Count) > int64(b.MaxCount) {
		return false
	}
	if b.MaxPercent > 0 && l.CapacityBytes > 0 {
		return (percent+need.Bytes)*100 <= l.CapacityBytes*int64(b.MaxPercent) || percent+need.Bytes <= 1
	}
	return true
}

// allowed tells, apart from the code, whether an entry may go.
func allowed(e Entry, b Bounds) bool {
	if e.Pinned || e.Filling || e.Evicting || e.Clones > 0 && b.KeepInUse {
		return false
	}
	return b.MinAge == 0 || !e.Created.After(now.Add(-b.MinAge)) || e.Created.After(now)
}

func set(vs []Victim) map[string]bool {
	m := map[string]bool{}
	for _, v := range vs {
		m[v.ID] = true
	}
	return m
}

func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, b := drawLoad(t), drawBounds(t)
		need := Need{Bytes: rapid.Int64Range(0, 100).Draw(t, "need"), Count: 1}
		before := slices.Clone(l.Entries)
		got, err := plan(now, need, l, b)
		if !slices.Equal(before, l.Entries) {
			t.Fatal("the load was modified")
		}
		if err != nil {
			checkRefusal(t, need, l, b, got, err)
			return
		}
		checkVictims(t, got, l, b)
		gone := set(got)
		if len(gone) != len(got) {
			t.Fatalf("an entry goes twice: %v", got)
		}
		if !holds(need, l, b, gone) {
			t.Fatalf("bounds are broken after %v", got)
		}
		for id := range gone {
			delete(gone, id)
			if holds(need, l, b, gone) {
				t.Fatalf("%s was not needed in %v", id, got)
			}
			gone[id] = true
		}
		checkOlderSpared(t, need, l, b, got)
		checkAnyOrder(t, need, l, b, got)
	})
}

// checkRefusal proves that a refusal was right: too large is so against an empty store, and no room is
// so with everything gone that may go.
func checkRefusal(t *rapid.T, need Need, l Load, b Bounds, got []Victim, err error) {
	if len(got) != 0 {
		t.Fatalf("a refusal evicts %v", got)
	}
	gone := map[string]bool{}
	for _, e := range l.Entries {
		gone[e.ID] = allowed(e, b)
	}
	empty := holds(need, Load{CapacityBytes: l.CapacityBytes}, b, nil)
	switch {
	case errors.Is(err, ErrTooLarge) == empty:
		t.Fatalf("%v, yet an empty store fitting it is %v", err, empty)
	case errors.Is(err, ErrNoRoom) && holds(need, l, b, gone):
		t.Fatalf("%v, yet it fits with %v gone", err, gone)
	case !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrNoRoom):
		t.Fatalf("unknown error %v", err)
	}
}

// checkVictims: nothing protected goes, the order is kept, and each has a cause that is a bound.
func checkVictims(t *rapid.T, got []Victim, l Load, b Bounds) {
	var last *Entry
	for _, v := range got {
		i := slices.IndexFunc(l.Entries, func(e Entry) bool { return e.ID == v.ID })
		e := &l.Entries[i]
		if !allowed(*e, b) {
			t.Fatalf("a protected entry goes: %+v", e)
		}
		if last != nil && !before(candidate{last, rank(last, b)}, candidate{e, rank(e, b)}) {
			t.Fatalf("%s goes after %s", e.ID, last.ID)
		}
		limit := map[Cause]int64{
			CauseSize: b.MaxBytes, CauseCount: int64(b.MaxCount), CausePercent: b.percentBytes(l.CapacityBytes),
		}[v.Cause]
		if limit == 0 {
			t.Fatalf("%s is blamed on %q, which is no bound here", v.ID, v.Cause)
		}
		last = e
	}
}

// checkOlderSpared: where an entry goes, those that should have gone before it would not have been
// enough, all together.
func checkOlderSpared(t *rapid.T, need Need, l Load, b Bounds, got []Victim) {
	for _, v := range got {
		i := slices.IndexFunc(l.Entries, func(e Entry) bool { return e.ID == v.ID })
		e := &l.Entries[i]
		older := map[string]bool{}
		for j := range l.Entries {
			o := &l.Entries[j]
			if allowed(*o, b) && before(candidate{o, rank(o, b)}, candidate{e, rank(e, b)}) {
				older[o.ID] = true
			}
		}
		if holds(need, l, b, older) {
			t.Fatalf("%s goes although older ones would have been enough", v.ID)
		}
	}
}

// checkAnyOrder: the plan does not depend on the order in which entries are listed.
func checkAnyOrder(t *rapid.T, need Need, l Load, b Bounds, want []Victim) {
	l.Entries = rapid.Permutation(l.Entries).Draw(t, "order")
	got, err := plan(now, need, l, b)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("in another order %v, %v; want %v", got, err, want)
	}
}

func TestOverflowProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, b := drawLoad(t), drawBounds(t)
		got := Overflow(now, l, b)
		checkVictims(t, got, l, b)
		planned, err := plan(now, Need{}, l, b)
		if err == nil && !slices.Equal(got, planned) {
			t.Fatalf("overflow %v, want what a plan for nothing says: %v", got, planned)
		}
		if again := Overflow(now, shrink(l, got), b); len(again) != 0 {
			t.Fatalf("a second time %v go", again)
		}
	})
}

// shrink is the load after victims went.
func shrink(l Load, victims []Victim) Load {
	gone, rest := set(victims), Load{DetachedBytes: l.DetachedBytes, CapacityBytes: l.CapacityBytes}
	for _, e := range l.Entries {
		switch {
		case !gone[e.ID]:
			rest.Entries = append(rest.Entries, e)
		case e.Clones > 0:
			rest.DetachedBytes += e.Bytes
		}
	}
	return rest
}
