package diskimage

import (
	"cmp"
	"fmt"
)

// byHost orders extents as they lie in the file.
func byHost(a, b extent) int { return cmp.Compare(a.host, b.host) }

// extentQueue yields extents in the order of the file, from lists that are sorted each: a heap of lists.
type extentQueue struct {
	*tables
	heap    []extentList // no list's first is before its parent's
	taken   int64        // bytes of the very first extent that were consumed
	spare   [][]extent   // used up, for reuse
	waiting int          // extents in all lists
}

// extentList is sorted, and all[next] is its first that is left.
type extentList struct {
	all  []extent
	next int
}

func (l extentList) host() int64 { return l.all[l.next].host }

// space returns an empty list that add takes back.
func (q *extentQueue) space() []extent {
	n := len(q.spare)
	if n == 0 {
		return nil
	}
	s := q.spare[n-1]
	q.spare = q.spare[:n-1]
	return s
}

// add takes a sorted list over. None of it may lie before what was consumed.
func (q *extentQueue) add(list []extent) {
	if len(list) == 0 {
		q.retire(list)
		return
	}
	q.waiting += len(list)
	q.heap = append(q.heap, extentList{all: list})
	for i := len(q.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if q.heap[parent].host() <= q.heap[i].host() {
			return
		}
		q.heap[parent], q.heap[i] = q.heap[i], q.heap[parent]
		i = parent
	}
}

// first is what is left of the extent that comes next, and how many bytes of the file that is.
func (q *extentQueue) first() (x extent, n int64, ok bool) {
	if len(q.heap) == 0 {
		return extent{}, 0, false
	}
	x = q.heap[0].all[q.heap[0].next]
	n = q.bytes(x) - q.taken
	x.host += q.taken
	x.guest += q.taken
	return x, n, true
}

// consume takes n bytes from the beginning of the first extent.
func (q *extentQueue) consume(n int64) {
	_, left, _ := q.first()
	if n < left {
		q.taken += n
		return
	}
	q.taken = 0
	q.waiting--
	top := &q.heap[0]
	if top.next++; top.next == len(top.all) {
		q.retire(top.all)
		last := len(q.heap) - 1
		q.heap[0] = q.heap[last]
		q.heap = q.heap[:last]
	}
	q.sink()
}

// retire keeps a used list's memory, but no more than a few.
func (q *extentQueue) retire(list []extent) {
	if cap(list) > 0 && len(q.spare) < 4 {
		q.spare = append(q.spare, list[:0])
	}
}

func (q *extentQueue) sink() {
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(q.heap); child++ {
			if q.heap[child].host() < q.heap[least].host() {
				least = child
			}
		}
		if least == i {
			return
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

// checkEnd judges what is left when the file has ended after size bytes: every cluster must begin inside
// it, and what is missing of the last one reads as zeroes.
func (q *extentQueue) checkEnd(size int64) error {
	for _, l := range q.heap {
		for _, x := range l.all[l.next:] {
			last := x.host + int64(x.clusters-1)<<q.clusterBits
			if x.size > 0 || last >= size {
				return refuse(RuleTruncated, "l2 entry", fmt.Sprintf("%#x, but the file ends at %#x", last, size))
			}
		}
	}
	return nil
}
