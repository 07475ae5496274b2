package lru

import "slices"

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

func newTally(need Need, s *Sums, b Bounds) tally {
	all := s.entries()
	t := tally{rules: b, bounds: [3]bound{
		{cause: CauseSize, limit: max(0, b.MaxBytes), used: all.Bytes},
		{cause: CauseCount, limit: int64(max(0, b.MaxCount)), used: all.Count},
		{cause: CausePercent, limit: b.percentBytes(s.CapacityBytes), used: add(all.Bytes, add(s.DetachedBytes, s.LeavingBytes))},
	}}
	for i := range t.bounds {
		t.bounds[i].used = add(t.bounds[i].used, t.amount(need, i))
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
		victims = append(victims, Victim{ID: e.ID, Cause: cause, InUse: e.Clones > 0})
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

// shortage tells which bound cannot be kept even where all goes that may; nil where there is none.
func (t *tally) shortage(need Need, s *Sums, young Young) *Shortage {
	idle, inUse := s.Idle.without(young.Idle), s.InUse.without(young.InUse)
	freed := [3]int64{idle.Bytes, idle.Count, idle.Bytes}
	if !t.rules.KeepInUse {
		freed[0], freed[1] = add(idle.Bytes, inUse.Bytes), add(idle.Count, inUse.Count)
	}
	for i, b := range t.bounds {
		if b.used -= freed[i]; b.broken() {
			return &Shortage{Err: ErrNoRoom, Bound: b.cause, Limit: b.limit, Need: t.amount(need, i), Kept: t.kept(b.cause, s, young)}
		}
	}
	return nil
}

// kept says what stays of what counts against a bound.
func (t *tally) kept(bound Cause, s *Sums, young Young) Kept {
	amount := func(g Group) int64 {
		if bound == CauseCount {
			return g.Count
		}
		return g.Bytes
	}
	k := Kept{Filling: amount(s.Filling), Pinned: amount(s.Pinned), Young: amount(young.Idle.and(young.InUse))}
	if bound == CausePercent {
		k.Detached = add(s.DetachedBytes, s.LeavingBytes)
	}
	if bound == CausePercent || t.rules.KeepInUse {
		k.InUse = amount(s.InUse.without(young.InUse))
	}
	return k
}

// add adds two amounts that are not negative, and stops at the largest one.
func add(a, b int64) int64 {
	if sum := a + b; sum >= 0 {
		return sum
	}
	return 1<<63 - 1
}
