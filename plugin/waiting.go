package plugin

import (
	"slices"
	"time"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// waiter is one who waits for a fill, or wants it to go on in the background. How long it waits is its context's.
type waiter struct {
	size       int64             // of the volume that is to be made; 0: any
	token      imagesource.Token // the fill may act with; "": it brings none
	project    ProjectID         // for which it wants the fill; "": it names none, and nothing of that kind bounds the fill
	background bool              // it does not wait
	deadline   time.Time         // what is not there by then is of no use to it; zero: none
	progress   func(Progress)    // nil: it is not told
	places     waitingSlots      // it takes one while it waits
	boarded    func(*flight)     // told of each flight that it waits for; nil: nobody is
}

// goOnFor lets the fill go on in the background for a waiter that does not wait any more, in the place of an earlier one of its
// project: however often a project asks meanwhile, it counts once, with the newest token. flights.mu is held.
func (f *flight) goOnFor(who *waiter) {
	f.background = true
	was := f.goesOnFor[who.project]
	if was != nil && was.token != "" && who.token == "" {
		was, who = who, was
	}
	if was != nil {
		f.forsake(was)
	}
	if f.goesOnFor == nil {
		f.goesOnFor = make(map[ProjectID]*waiter)
	}
	f.goesOnFor[who.project] = who
}

// forsake lets the fill neither count for a waiter any more, nor act with its token; flights.mu is held.
func (f *flight) forsake(who *waiter) {
	f.project.forsake(who.project)
	f.callers = slices.DeleteFunc(f.callers, func(c *waiter) bool { return c == who })
}

func (w *waiter) boards(f *flight) {
	if w.boarded != nil {
		w.boarded(f)
	}
}

// report tells the waiter how far the fill is, if it wants to know.
func (w *waiter) report(so Progress) {
	if w.progress != nil {
		w.progress(so)
	}
}

// waitingSlots are the places for requests that wait for fills; nil bounds nothing. A caller that waits may
// hold a worker of its control plane, and that very control plane may have to make the image-volume: if
// all its workers waited, the fill would never end.
type waitingSlots chan struct{}

// enter takes a place if there is one, and never waits. The caller leaves it.
func (w waitingSlots) enter() (leave func(), ok bool) {
	if w == nil {
		return func() {}, true
	}
	select {
	case w <- struct{}{}:
		return func() { <-w }, true
	default:
		return nil, false
	}
}
