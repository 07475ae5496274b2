package lru

import (
	"cmp"
	"slices"
	"time"
)

// fullPlan is what Plan must come to: it looks at every entry, adds them up one by one, and takes the
// first candidate of all until everything fits.
func fullPlan(now time.Time, need Need, load Load, b Bounds) ([]Victim, error) {
	t := fullTally(need, load, b)
	if s := t.tooLarge(need); s != nil {
		return nil, s
	}
	var candidates []candidate
	for i := range load.Entries {
		if e := &load.Entries[i]; mayGo(now, e, b) {
			candidates = append(candidates, candidate{e, rank(e, b)})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), byUse(a.entry, b.entry))
	})
	var taken []*Entry
	for _, c := range candidates {
		if t.fits() {
			break
		}
		t.remove(c.entry)
		taken = append(taken, c.entry)
	}
	if over, ok := t.broken(); ok {
		return nil, fullShortage(&t, now, need, load, over)
	}
	return t.victims(taken), nil
}

// candidate is an entry that may go, with its rank: the lower goes first whatever its last use.
type candidate struct {
	entry *Entry
	rank  int
}

func before(a, b candidate) bool {
	return cmp.Or(cmp.Compare(a.rank, b.rank), byUse(a.entry, b.entry)) < 0
}

// rank is 0 for idle entries and 1 for those in use; with MinHits, 2 is added for proven ones. Superseded
// ones have 2 less, whatever their hits.
func rank(e *Entry, b Bounds) int {
	r := 0
	if e.Clones > 0 {
		r = 1
	}
	if e.Superseded {
		return r - 2
	}
	if b.MinHits > 0 && e.Hits >= b.MinHits {
		r += 2
	}
	return r
}

// mayGo tells whether bounds allow e to be a victim.
func mayGo(now time.Time, e *Entry, b Bounds) bool {
	return !e.Pinned && !e.Filling && !e.Evicting && !young(now, e, b) && (e.Clones == 0 || !b.KeepInUse)
}

// fullTally counts entry by entry. One that is being evicted counts no more, except that it leaves
// detached bytes behind where it has clones.
func fullTally(need Need, load Load, b Bounds) tally {
	t := newTally(need, &Sums{DetachedBytes: max(0, load.DetachedBytes), CapacityBytes: load.CapacityBytes}, b)
	for _, e := range load.Entries {
		if !e.Evicting {
			t.bounds[0].used += e.Bytes
			t.bounds[1].used++
		}
		if !e.Evicting || e.Clones > 0 {
			t.bounds[2].used += e.Bytes
		}
	}
	return t
}

// fullShortage explains why over cannot be kept.
func fullShortage(t *tally, now time.Time, need Need, load Load, over bound) *Shortage {
	i := slices.IndexFunc(t.bounds[:], func(b bound) bool { return b.cause == over.cause })
	s := &Shortage{Err: ErrNoRoom, Bound: over.cause, Limit: over.limit, Need: t.amount(need, i)}
	percent := over.cause == CausePercent
	if percent {
		s.Kept.Detached = max(0, load.DetachedBytes)
	}
	for j := range load.Entries {
		e := &load.Entries[j]
		amount := e.Bytes
		if over.cause == CauseCount {
			amount = 1
		}
		if kept := keeper(t, now, e, &s.Kept, percent); kept != nil {
			*kept += amount
		}
	}
	return s
}

// keeper picks the reason for which e keeps counting; nil where it does not.
func keeper(t *tally, now time.Time, e *Entry, k *Kept, percent bool) *int64 {
	switch {
	case e.Evicting && percent && e.Clones > 0:
		return &k.Detached
	case e.Evicting:
		return nil
	case e.Filling:
		return &k.Filling
	case e.Pinned:
		return &k.Pinned
	case young(now, e, t.rules):
		return &k.Young
	case e.Clones > 0 && (percent || t.rules.KeepInUse):
		return &k.InUse
	default:
		return nil
	}
}
