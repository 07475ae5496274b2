package rawfile

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// Who comes while a sync is under way is not served by it, but by the one after it, together with others.
func TestThoseWhoWaitShareTheNextSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		begun, goOn := 0, make(chan error)
		s := newSyncs(func() error { begun++; return <-goOn })
		var running sync.WaitGroup
		errs := make([]error, 4)
		ask := func(n int) {
			running.Go(func() { errs[n] = s.do() })
			synctest.Wait()
		}
		for n := range errs {
			ask(n)
		}
		if begun != 1 {
			t.Errorf("got %d syncs while the first is under way, want 1", begun)
		}
		goOn <- nil
		synctest.Wait()
		if begun != 2 {
			t.Errorf("got %d syncs after the first, want 2", begun)
		}
		goOn <- broken
		running.Wait()
		for n, want := range []error{nil, broken, broken, broken} {
			if !errors.Is(errs[n], want) {
				t.Errorf("caller %d: got %v, want %v", n, errs[n], want)
			}
		}
		if begun != 2 {
			t.Errorf("got %d syncs, want 2", begun)
		}
	})
}
