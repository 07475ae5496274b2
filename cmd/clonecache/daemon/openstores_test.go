package daemon

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/late"
)

// One that leaves the configuration before it could be opened is not opened later, when somebody else may have it; one that is open
// stays so, since fills may go on in it.
func TestWhatLeavesBeforeItWasOpenedIsNotTriedAnyMore(t *testing.T) {
	log, _ := test.NewNullLogger()
	tried, pause := make(chan struct{}), make(chan time.Time)
	vain := late.NewBackend(late.Config[backends.Backend]{
		Why: errors.New("not mounted"), After: func(time.Duration) <-chan time.Time { return pause },
		Open: func(ctx context.Context) (backends.Backend, error) {
			close(tried)
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	memory := backendtest.NewMemory(backendtest.MemoryConfig{})
	s := &stores{open: []openStore{{name: "open", backend: memory}, {name: "vain", backend: vain}, {name: "stays", backend: late.NewBackend(late.Config[backends.Backend]{
		Why: errors.New("not mounted"), After: func(time.Duration) <-chan time.Time { return nil },
	})}}}
	pause <- time.Time{}
	<-tried
	s.letGo([]backends.Name{"open", "vain"}, log)
	s.closing.Wait()
	if _, kept := s.kept(openStore{name: "vain"}); kept {
		t.Error("one that was never open is kept")
	}
	for _, name := range []string{"open", "stays"} {
		if _, kept := s.kept(openStore{name: name}); !kept {
			t.Errorf("%s is not kept", name)
		}
	}
	if _, err := memory.Capacity(t.Context()); err != nil {
		t.Errorf("the one that is open: %v", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
