package plugin

import (
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
