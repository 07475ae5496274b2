package rawfile

import "sync"

// Phase is how far something that is being made has come.
type Phase int

const (
	// Busy: it is being begun, committed or discarded.
	Busy Phase = iota
	// Writing: it may be written, committed and discarded.
	Writing
	// Published: it is there, for all to see.
	Published
	// Discarded: nothing is left of it.
	Discarded
)

// Lifecycle orders the beginning, the commit and the discard of one thing, which may be called at any
// time from any goroutine. It begins Busy. It must not be copied.
type Lifecycle struct {
	mu    sync.Mutex
	phase Phase
	idle  chan struct{} // closed when it is no longer Busy; made by the waiting goroutine
}

// Enter makes what is in Writing Busy, so that the caller has it alone until Leave. It waits while it
// is Busy, and tells which phase it found; with another one than Writing the caller has nothing.
func (l *Lifecycle) Enter() Phase {
	for {
		phase, idle := l.enter()
		if phase != Busy {
			return phase
		}
		<-idle
	}
}

func (l *Lifecycle) enter() (Phase, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.phase
	switch found {
	case Writing:
		l.phase = Busy
	case Busy:
		if l.idle == nil {
			l.idle = make(chan struct{})
		}
	case Published, Discarded:
	}
	return found, l.idle
}

// Leave ends being Busy.
func (l *Lifecycle) Leave(to Phase) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = to
	if l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// Phase tells how far it has come at this moment.
func (l *Lifecycle) Phase() Phase {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.phase
}
