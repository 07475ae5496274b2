package lru

import (
	"cmp"
	"time"
)

// candidate is an entry that may go, with its rank: the lower goes first whatever its last use.
type candidate struct {
	entry *Entry
	rank  int
}

func before(a, b candidate) bool {
	return cmp.Or(cmp.Compare(a.rank, b.rank), byUse(a.entry, b.entry)) < 0
}

// rank is 0 for idle entries and 1 for those in use; with MinHits, 2 is added for proven ones.
func rank(e *Entry, b Bounds) int {
	r := 0
	if e.Clones > 0 {
		r = 1
	}
	if b.MinHits > 0 && e.Hits >= b.MinHits {
		r += 2
	}
	return r
}

// queue hands out who may go, first victims first. It is a binary heap, since a plan usually needs few
// out of many; container/heap would cost an interface call for each comparison.
type queue struct{ heap []candidate }

func newQueue(now time.Time, entries []Entry, b Bounds) queue {
	q := queue{heap: make([]candidate, 0, len(entries))}
	for i := range entries {
		if e := &entries[i]; mayGo(now, e, b) {
			q.heap = append(q.heap, candidate{e, rank(e, b)})
		}
	}
	for i := len(q.heap)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
	return q
}

// pop removes and returns the next victim.
func (q *queue) pop() (*Entry, bool) {
	if len(q.heap) == 0 {
		return nil, false
	}
	top, last := q.heap[0], len(q.heap)-1
	q.heap[0] = q.heap[last]
	q.heap = q.heap[:last]
	q.sink(0)
	return top.entry, true
}

// sink restores the heap below i.
func (q *queue) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(q.heap) {
			return
		}
		if child+1 < len(q.heap) && before(q.heap[child+1], q.heap[child]) {
			child++
		}
		if !before(q.heap[child], q.heap[i]) {
			return
		}
		q.heap[i], q.heap[child] = q.heap[child], q.heap[i]
		i = child
	}
}
