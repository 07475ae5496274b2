package lru

import (
	"iter"
	"time"
)

// Stock is what a store holds, told as far as Plan asks: what it adds up to, and who may go, in order.
type Stock struct {
	Sums Sums
	// Young adds up the entries of Sums.Idle and Sums.InUse that were created after the one time, at the
	// latest at the other. It is asked only where something has to go and Bounds.MinAge is set.
	Young func(after, until time.Time) (Young, error)
	// Line yields the entries of a class by their last use, at the earliest when they were created, then
	// by creation, then by ID. It is not asked for more of them than are needed. An error ends it.
	Line func(Class) iter.Seq2[Entry, error]
}

// Sums are the entries of a store added up, each in one group, which no other may decide: an evicting
// one is in none, else the first that applies of filling, pinned, in use (live clones), idle.
type Sums struct {
	Filling, Pinned, InUse, Idle Group
	// LeavingBytes are of evicting entries with live clones, which will leave them detached.
	LeavingBytes  int64
	DetachedBytes int64 // still held by detached image-volumes
	CapacityBytes int64 // of the whole backend; 0: unknown, MaxPercent is not applied
}

// Group is some entries added up.
type Group struct{ Count, Bytes int64 }

// Young are entries that are too new to go.
type Young struct{ InUse, Idle Group }

// Class is some of the entries that are neither pinned, filling nor evicting.
type Class struct {
	Use Use
	// Superseded ones, whatever their hits, or those that are not.
	Superseded bool
	MinHits    int64 // with at least so many hits
	BelowHits  int64 // with fewer; 0: no end
}

// Use tells whether an entry has live clones.
type Use int

// Idle entries have none.
const (
	Idle Use = iota + 1
	InUse
)

func (u Use) String() string {
	switch u {
	case Idle:
		return "idle"
	case InUse:
		return "in use"
	}
	return "unknown"
}

// entries is all that counts against the bounds on size and count.
func (s *Sums) entries() Group {
	return s.Filling.and(s.Pinned).and(s.InUse).and(s.Idle)
}

func (g Group) and(o Group) Group { return Group{add(g.Count, o.Count), add(g.Bytes, o.Bytes)} }

// without is g without some of its own.
func (g Group) without(o Group) Group { return Group{max(0, g.Count-o.Count), max(0, g.Bytes-o.Bytes)} }

// Stock is for a caller who has all entries at hand.
func (l Load) Stock() Stock {
	return Stock{Sums: l.sums(), Young: l.young, Line: l.line}
}

func (l Load) sums() Sums {
	s := Sums{DetachedBytes: max(0, l.DetachedBytes), CapacityBytes: l.CapacityBytes}
	for i := range l.Entries {
		e := &l.Entries[i]
		if e.Evicting && e.Clones > 0 {
			s.LeavingBytes = add(s.LeavingBytes, max(0, e.Bytes))
		}
		if g := s.group(e); g != nil {
			*g = g.and(e.group())
		}
	}
	return s
}

// group is where e counts; nil for nowhere.
func (s *Sums) group(e *Entry) *Group {
	switch {
	case e.Evicting:
		return nil
	case e.Filling:
		return &s.Filling
	case e.Pinned:
		return &s.Pinned
	case e.Clones > 0:
		return &s.InUse
	}
	return &s.Idle
}

// group is e alone.
func (e *Entry) group() Group { return Group{1, max(0, e.Bytes)} }

func (l Load) young(after, until time.Time) (Young, error) {
	var y Young
	for i := range l.Entries {
		e := &l.Entries[i]
		switch {
		case !e.free() || !e.Created.After(after) || e.Created.After(until):
		case e.Clones > 0:
			y.InUse = y.InUse.and(e.group())
		default:
			y.Idle = y.Idle.and(e.group())
		}
	}
	return y, nil
}

func (l Load) line(c Class) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		q := newQueue(l.Entries, c)
		for e, ok := q.pop(); ok; e, ok = q.pop() {
			if !yield(*e, nil) {
				return
			}
		}
	}
}
