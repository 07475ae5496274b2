package plugin

import "sync"

// repeats says how often what was left out is tried again: the next time, and then after 2, 4, 8 and at most 15 times, since
// each compares all there is, and a store may be silent for days. It may be used by several at once.
type repeats struct {
	mu     sync.Mutex
	inRow  int // how many have left something out
	passes int // how many times are passed over yet
}

// mostRepeatsPassed is how many times, of a minute each, lie between two comparisons at most.
const mostRepeatsPassed = 14

// due tells whether this time is not passed over.
func (r *repeats) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.passes == 0 {
		return true
	}
	r.passes--
	return false
}

// ended notes how one came out.
func (r *repeats) ended(whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if whole {
		r.inRow, r.passes = 0, 0
		return
	}
	r.passes = min(1<<min(r.inRow, 8)-1, mostRepeatsPassed)
	r.inRow++
}

// anew has the next time tried: something has changed.
func (r *repeats) anew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inRow, r.passes = 0, 0
}
