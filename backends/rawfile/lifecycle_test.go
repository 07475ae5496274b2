package rawfile_test

import (
	"testing"
	"testing/synctest"

	"github.com/clonecache/clonecache/backends/rawfile"
)

func TestEnterWaitsWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l rawfile.Lifecycle // busy: it is being begun
		found := make(chan rawfile.Phase, 2)
		for range 2 {
			go func() { found <- l.Enter() }()
		}
		synctest.Wait()
		if len(found) != 0 {
			t.Error("it was entered while it was begun")
		}
		l.Leave(rawfile.Writing)
		synctest.Wait()
		if got := <-found; got != rawfile.Writing || len(found) != 0 {
			t.Errorf("got phase %d first, and %d more; want just one to enter", got, len(found))
		}
		l.Leave(rawfile.Published)
		if got := <-found; got != rawfile.Published {
			t.Errorf("the other one got phase %d, want %d", got, rawfile.Published)
		}
		if got := l.Phase(); got != rawfile.Published {
			t.Errorf("got phase %d, want %d", got, rawfile.Published)
		}
	})
}
