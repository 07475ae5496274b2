package lru

// queue hands out the entries of a class, the least recently used first. It is a binary heap, since a
// plan usually needs few out of many; container/heap would cost an interface call for each comparison.
type queue struct{ heap []*Entry }

func newQueue(entries []Entry, c Class) queue {
	var q queue
	for i := range entries {
		if e := &entries[i]; c.has(e) {
			q.heap = append(q.heap, e)
		}
	}
	for i := len(q.heap)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
	return q
}

// has tells whether e is of the class.
func (c Class) has(e *Entry) bool {
	return e.free() && c.Superseded == e.Superseded && (e.Clones > 0) == (c.Use == InUse) && e.Hits >= c.MinHits && (c.BelowHits == 0 || e.Hits < c.BelowHits)
}

// pop removes and returns the next one.
func (q *queue) pop() (*Entry, bool) {
	if len(q.heap) == 0 {
		return nil, false
	}
	top, last := q.heap[0], len(q.heap)-1
	q.heap[0] = q.heap[last]
	q.heap = q.heap[:last]
	q.sink(0)
	return top, true
}

// sink restores the heap below i.
func (q *queue) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(q.heap) {
			return
		}
		if child+1 < len(q.heap) && byUse(q.heap[child+1], q.heap[child]) < 0 {
			child++
		}
		if byUse(q.heap[child], q.heap[i]) >= 0 {
			return
		}
		q.heap[i], q.heap[child] = q.heap[child], q.heap[i]
		i = child
	}
}
