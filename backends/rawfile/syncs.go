package rawfile

import "sync"

// syncs lets those who need the same thing synced share a sync: what comes while one is under way waits
// for the next one, all of them together. The zero value is not usable; see newSyncs.
type syncs struct {
	sync func() error
	busy chan struct{} // holds one while a sync is under way

	mu   sync.Mutex
	next *turn // the sync that has not begun; nil: nobody waits
}

// turn is one sync, for all goroutines that joined it.
type turn struct {
	done chan struct{} // closed when err is set
	err  error
}

func newSyncs(sync func() error) *syncs {
	return &syncs{sync: sync, busy: make(chan struct{}, 1)}
}

// do returns when a sync that began after the call has ended, with its error.
func (s *syncs) do() error {
	t, leads := s.join()
	if !leads {
		<-t.done
		return t.err
	}
	s.busy <- struct{}{}
	s.begin()
	t.err = s.sync()
	<-s.busy
	close(t.done)
	return t.err
}

// join takes part in the next sync, which its first leads.
func (s *syncs) join() (t *turn, leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		return s.next, false
	}
	s.next = &turn{done: make(chan struct{})}
	return s.next, true
}

// begin closes the turn to newcomers: a change that comes now may be too late for the sync.
func (s *syncs) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = nil
}
