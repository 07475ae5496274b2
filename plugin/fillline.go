package plugin

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
)

// line is where fills wait for their places: among all, and among those of their backend and source. One begins when all the
// places that it needs are free, and has none of them before: it keeps none from another one that needs only that. Who has
// waited longest goes first among those who can begin. It may be used from several goroutines.
type line struct {
	mu      sync.Mutex // guards what follows, and what is in the line's places and turns
	waiting []*fillTurn
}

// mostPassed is how many fills that came later and need one of its own places may begin before one that waits. Then its own
// places are kept for it, so that one that needs two of them gets both at some time.
const mostPassed = 16

// unbounded is how many may be at a place that has no bound. They are counted there all the same: it may get one later.
const unbounded = math.MaxInt

// slot is where so many fills may be at a time. There may be more or fewer of them later; who is there stays.
type slot struct {
	line        *line
	most, taken int
}

// fillTurn is a fill's, for the places that it needs.
type fillTurn struct {
	line *line
	own  []bounded // of few fills: their backend's, their source's
	wide []bounded // of fills of all kinds

	granted chan struct{} // closed once it has them; nil: it was not asked for
	taken   bool
	passed  int
}

// bounded is a place, and what bounds it.
type bounded struct {
	*slot
	by Bound
}

// Bound is what a fill that may not begin yet waits for.
type Bound string

// What bounds how many fills read and write at a time.
const (
	BoundFills   Bound = "fills"   // all of them
	BoundSource  Bound = "source"  // those of an image's source
	BoundBackend Bound = "backend" // those of a backend
	BoundProject Bound = "project" // those of a project
)

// slot is a new one of the line, for so many; 0: no bound.
func (l *line) slot(most int) *slot { return &slot{line: l, most: cmp.Or(most, unbounded)} }

// resize lets so many be there from now on; 0: no bound.
func (p *slot) resize(most int) {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	p.most = cmp.Or(most, unbounded)
	p.line.grant()
}

// full tells whether the place has none to give. The line's mu is held.
func (p *slot) full() bool { return p.taken >= p.most }

// size tells how many may be there, and whether one would get there at once.
func (p *slot) size() (most int, now bool) {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	return p.most, !p.full()
}

// crowded tells whether a fill waits for it, or would have to. One without a bound never is.
func (p *slot) crowded() bool {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	return p.full() || p.most < unbounded && slices.ContainsFunc(p.line.waiting, func(t *fillTurn) bool { return t.needs(p) })
}

// take waits for all places; with them it does nothing. The error is ctx's.
func (t *fillTurn) take(ctx context.Context) error {
	t.line.mu.Lock()
	if t.taken {
		t.line.mu.Unlock()
		return nil
	}
	t.granted = make(chan struct{})
	t.line.waiting = append(t.line.waiting, t)
	t.line.grant()
	t.line.mu.Unlock()
	select {
	case <-t.granted:
		return nil
	case <-ctx.Done():
	}
	t.leave()
	return ctx.Err()
}

// leave gives the places back, or does not wait for them any more.
func (t *fillTurn) leave() {
	t.line.mu.Lock()
	defer t.line.mu.Unlock()
	if at := slices.Index(t.line.waiting, t); at >= 0 {
		t.line.waiting = slices.Delete(t.line.waiting, at, at+1)
	}
	if t.taken {
		t.count(-1)
	}
	t.taken = false
	t.line.grant()
}

// has tells whether it has its places.
func (t *fillTurn) has() bool {
	t.line.mu.Lock()
	defer t.line.mu.Unlock()
	return t.taken
}

// idle tells whether the places would be had at once.
func (t *fillTurn) idle() bool {
	t.line.mu.Lock()
	defer t.line.mu.Unlock()
	return t.lacks() == "" && len(t.line.kept(t.line.waiting, t)) == 0
}

// waitsFor is what keeps it from beginning; "": nothing, or it was not asked for yet.
func (t *fillTurn) waitsFor() Bound {
	t.line.mu.Lock()
	defer t.line.mu.Unlock()
	if t.taken || !slices.Contains(t.line.waiting, t) {
		return ""
	}
	if lacks := t.lacks(); lacks != "" {
		return lacks
	}
	return t.own[0].by // kept for one that waits longer
}

// lacks is the first place that has none to give; "": none lacks. The line's mu is held.
func (t *fillTurn) lacks() Bound {
	for _, all := range [][]bounded{t.own, t.wide} {
		if at := slices.IndexFunc(all, func(p bounded) bool { return p.full() }); at >= 0 {
			return all[at].by
		}
	}
	return ""
}

// needs tells whether a place is among those that it waits for.
func (t *fillTurn) needs(p *slot) bool {
	is := func(b bounded) bool { return b.slot == p }
	return slices.ContainsFunc(t.own, is) || slices.ContainsFunc(t.wide, is)
}

// shares tells whether it needs one of the places, those that have a bound.
func (t *fillTurn) shares(own []bounded) bool {
	return slices.ContainsFunc(own, func(p bounded) bool { return p.most < unbounded && t.needs(p.slot) })
}

// count takes the places, or gives them back. The line's mu is held.
func (t *fillTurn) count(more int) {
	for _, p := range slices.Concat(t.own, t.wide) {
		p.taken += more
	}
}

// grant lets those begin that can; mu is held.
func (l *line) grant() {
	for at := 0; at < len(l.waiting); {
		t := l.waiting[at]
		if t.lacks() != "" || len(l.kept(l.waiting[:at], t)) > 0 {
			at++
			continue
		}
		for _, earlier := range l.waiting[:at] {
			if t.shares(earlier.own) {
				earlier.passed++
			}
		}
		l.waiting = slices.Delete(l.waiting, at, at+1)
		t.count(1)
		t.taken = true
		close(t.granted)
	}
}

// kept are those of the waiting that others have passed often enough, and that need a place of few fills which t needs too.
// mu is held.
func (l *line) kept(waiting []*fillTurn, t *fillTurn) (all []*fillTurn) {
	for _, earlier := range waiting {
		if earlier != t && earlier.passed >= mostPassed && t.shares(earlier.own) {
			all = append(all, earlier)
		}
	}
	return all
}
