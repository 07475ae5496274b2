package lru

import (
	"slices"
	"time"
)

// bound is one bound and what counts against it.
type bound struct {
	cause Cause
	limit int64 // 0: none
	used  int64
}

func (b *bound) broken() bool { return b.limit > 0 && b.used > b.limit }

// tally holds the bounds and what counts against them, the newcomer included.
type tally struct {
	bounds [3]bound
	rules  Bounds
}

func newTally(need Need, load Load, b Bounds) tally {
	t := tally{rules: b, bounds: [3]bound{
		{cause: CauseSize, limit: max(0, b.MaxBytes)},
		{cause: CauseCount, limit: int64(max(0, b.MaxCount))},
		{cause: CausePercent, limit: b.percentBytes(load.CapacityBytes), used: max(0, load.DetachedBytes)},
	}}
	for i := range t.bounds {
		t.bounds[i].used = add(t.bounds[i].used, t.amount(need, i))
	}
	for i := range load.Entries {
		t.count(&load.Entries[i])
	}
	return t
}

// amount is what need asks of bound i.
func (t *tally) amount(need Need, i int) int64 {
	if t.bounds[i].cause == CauseCount {
		return int64(max(0, need.Count))
	}
	return max(0, need.Bytes)
}

// count adds an entry that is there. One that is being evicted counts no more, except that it leaves
// detached bytes behind where it has clones.
func (t *tally) count(e *Entry) {
	bytes := max(0, e.Bytes)
	if !e.Evicting {
		t.bounds[0].used = add(t.bounds[0].used, bytes)
		t.bounds[1].used++
	}
	if !e.Evicting || e.Clones > 0 {
		t.bounds[2].used = add(t.bounds[2].used, bytes)
	}
}

// frees is what bound i gains when e goes.
func (t *tally) frees(e *Entry, i int) int64 {
	switch t.bounds[i].cause {
	case CauseCount:
		return 1
	case CausePercent:
		if e.Clones > 0 {
			return 0
		}
	case CauseSize:
	}
	return max(0, e.Bytes)
}

func (t *tally) remove(e *Entry) {
	for i := range t.bounds {
		t.bounds[i].used -= t.frees(e, i)
	}
}

func (t *tally) restore(e *Entry) {
	for i := range t.bounds {
		t.bounds[i].used += t.frees(e, i)
	}
}

func (t *tally) broken() (bound, bool) {
	for i := range t.bounds {
		if t.bounds[i].broken() {
			return t.bounds[i], true
		}
	}
	return bound{}, false
}

func (t *tally) fits() bool {
	_, broken := t.broken()
	return !broken
}

// blames returns the first bound that is broken and that e's going helps.
func (t *tally) blames(e *Entry) (Cause, bool) {
	for i := range t.bounds {
		if t.bounds[i].broken() && t.frees(e, i) > 0 {
			return t.bounds[i].cause, true
		}
	}
	return "", false
}

// victims leaves out, from the last taken to the first, those that t does without, and says for each
// other one why it goes. All of taken must have been removed from t; afterwards none is.
func (t *tally) victims(taken []*Entry) []Victim {
	spared := make([]bool, len(taken))
	for i, e := range slices.Backward(taken) {
		t.restore(e)
		if _, needed := t.blames(e); needed {
			t.remove(e)
		} else {
			spared[i] = true
		}
	}
	for i, e := range taken {
		if !spared[i] {
			t.restore(e)
		}
	}
	return t.blame(taken, spared)
}

// blame walks the victims in order, and gives each the bound that is broken when its turn comes.
func (t *tally) blame(taken []*Entry, spared []bool) []Victim {
	var victims []Victim
	for i, e := range taken {
		if spared[i] {
			continue
		}
		cause, _ := t.blames(e)
		victims = append(victims, Victim{ID: e.ID, Cause: cause})
		t.remove(e)
	}
	return victims
}

// tooLarge returns the first bound that need alone is over, as an error.
func (t *tally) tooLarge(need Need) *Shortage {
	for i, b := range t.bounds {
		if n := t.amount(need, i); b.limit > 0 && n > b.limit {
			return &Shortage{Err: ErrTooLarge, Bound: b.cause, Limit: b.limit, Need: n}
		}
	}
	return nil
}

// shortage explains why over cannot be kept.
func (t *tally) shortage(now time.Time, need Need, load Load, over bound) *Shortage {
	i := slices.IndexFunc(t.bounds[:], func(b bound) bool { return b.cause == over.cause })
	s := &Shortage{Err: ErrNoRoom, Bound: over.cause, Limit: over.limit, Need: t.amount(need, i)}
	percent := over.cause == CausePercent
	if percent {
		s.Kept.Detached = max(0, load.DetachedBytes)
	}
	for j := range load.Entries {
		e := &load.Entries[j]
		amount := max(0, e.Bytes)
		if over.cause == CauseCount {
			amount = 1
		}
		if kept := t.keeper(now, e, &s.Kept, percent); kept != nil {
			*kept = add(*kept, amount)
		}
	}
	return s
}

// keeper picks the reason for which e keeps counting; nil where it does not.
func (t *tally) keeper(now time.Time, e *Entry, k *Kept, percent bool) *int64 {
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

// add adds two amounts that are not negative, and stops at the largest one.
func add(a, b int64) int64 {
	if sum := a + b; sum >= 0 {
		return sum
	}
	return 1<<63 - 1
}
