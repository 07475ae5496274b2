package plugin

import (
	"slices"
	"sync"
)

// ProjectID names whose volumes are asked for, in the control plane's words. It is not whose image that is: the report
// counts by that.
type ProjectID string

// projectPlaces are where fills wait for the place of a project, before anything is reserved for them: no row, no quota, no
// place that another project could have. So what one project waits for is begun at once by another that asks for it,
// here or on another host. They may be used from several goroutines.
type projectPlaces struct {
	mu      sync.Mutex        // guards what follows, and what is in turns
	most    int               // of each project; 0: no bound
	taken   map[ProjectID]int // also without a bound: there may be one later
	waiting []*projectTurn    // the oldest first
}

// projectTurn is a fill's. It takes the place of one project of those that want it, and none where somebody wants it who
// named no project. The zero value is of nobody's.
type projectTurn struct {
	places *projectPlaces

	wanted  []ProjectID // by whom, once for each who waits; "": named none
	taken   bool
	of      ProjectID     // whose place it has, or had
	granted chan struct{} // of one that waits; closed once it has its place
}

// resize lets each project have so many from now on; 0: no bound.
func (p *projectPlaces) resize(most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = most
	p.grant()
}

// grant lets those begin that can; mu is held.
func (p *projectPlaces) grant() {
	p.waiting = slices.DeleteFunc(p.waiting, func(t *projectTurn) bool {
		if !t.enter() {
			return false
		}
		close(t.granted)
		return true
	})
}

// enter takes a place where there is one; places.mu is held.
func (t *projectTurn) enter() bool {
	at := slices.Index(t.wanted, "")
	if at < 0 {
		at = slices.IndexFunc(t.wanted, func(by ProjectID) bool { return t.places.most == 0 || t.places.taken[by] < t.places.most })
	}
	if at < 0 {
		return false
	}
	t.taken, t.of = true, t.wanted[at]
	if t.of != "" {
		t.places.taken[t.of]++
	}
	return true
}

// want notes one more who wants the fill: it may begin by that.
func (t *projectTurn) want(by ProjectID) {
	if t.places == nil {
		return
	}
	t.places.mu.Lock()
	defer t.places.mu.Unlock()
	t.wanted = append(t.wanted, by)
	t.places.grant()
}

// forsake notes that one of them does not want it any more. A fill that has begun goes on as it began.
func (t *projectTurn) forsake(by ProjectID) {
	if t.places == nil {
		return
	}
	t.places.mu.Lock()
	defer t.places.mu.Unlock()
	if at := slices.Index(t.wanted, by); at >= 0 {
		t.wanted = slices.Delete(t.wanted, at, at+1)
	}
}

// take takes a place, or lines up for it and tells what is closed once it has one; nil: it has it.
func (t *projectTurn) take() (granted <-chan struct{}) {
	t.places.mu.Lock()
	defer t.places.mu.Unlock()
	if t.taken || !t.waits() && t.enter() {
		return nil
	}
	if !t.waits() {
		t.granted = make(chan struct{})
		t.places.waiting = append(t.places.waiting, t)
	}
	return t.granted
}

// leave gives the place back, or does not wait for it any more. It may be repeated.
func (t *projectTurn) leave() {
	t.places.mu.Lock()
	defer t.places.mu.Unlock()
	t.places.waiting = slices.DeleteFunc(t.places.waiting, func(o *projectTurn) bool { return o == t })
	if t.taken && t.of != "" {
		if t.places.taken[t.of]--; t.places.taken[t.of] == 0 {
			delete(t.places.taken, t.of)
		}
	}
	t.taken = false
	t.places.grant()
}

// waits tells whether it is in line; places.mu is held.
func (t *projectTurn) waits() bool { return slices.Contains(t.places.waiting, t) }

// waitsFor is BoundProject as long as it waits.
func (t *projectTurn) waitsFor() Bound {
	if t.places == nil {
		return ""
	}
	t.places.mu.Lock()
	defer t.places.mu.Unlock()
	if t.waits() {
		return BoundProject
	}
	return ""
}

// whose is the project that a fill is, or was, counted for; "": none.
func (t *projectTurn) whose() ProjectID {
	t.places.mu.Lock()
	defer t.places.mu.Unlock()
	return t.of
}
