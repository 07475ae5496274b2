package plugin_test

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// slowOpen is a source one of whose images waits to be opened.
type slowOpen struct {
	*gatedSource
	mu      sync.Mutex
	slow    string
	err     error // what opening it comes to
	reached chan struct{}
	goOn    chan struct{}
}

func newSlowOpen(slow string) *slowOpen {
	s := &slowOpen{gatedSource: newGatedSource()}
	close(s.gate)
	s.slowDown(slow, nil)
	return s
}

// slowDown lets the next who opens the image wait for goOn.
func (s *slowOpen) slowDown(image string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow, s.err, s.reached, s.goOn = image, err, make(chan struct{}, 10), make(chan struct{})
}

func (s *slowOpen) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	s.mu.Lock()
	slow, err, reached, goOn := i.ID == s.slow, s.err, s.reached, s.goOn
	s.mu.Unlock()
	if !slow {
		return s.gatedSource.Open(ctx, i)
	}
	reached <- struct{}{}
	select {
	case <-goOn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return s.gatedSource.Open(ctx, i)
}

// twins are two images of one content: a's digest is not known beforehand, b's is, and b is slow to open.
func twins(t *testing.T, err error) (*rig, *slowOpen) {
	t.Helper()
	source := newSlowOpen("b")
	source.err = err
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), func(c *plugin.Config) {
		c.Backends[0].Fallback = ""
	})
	content := random(mib)
	source.put("a", "1", content)
	source.put("b", "1", content)
	source.promise("b", digestOf(content))
	return r, source
}

// startCreate makes a volume in the background; its answer comes by the channel.
func (r *rig) startCreate(t *testing.T, image, volume string) <-chan plugin.Answer {
	done := make(chan plugin.Answer, 1)
	go func() {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: image, Volume: backends.VolumeName(volume)})
		if err != nil {
			a.Detail = err.Error()
		}
		done <- a
	}()
	return done
}

// readOf waits until a's bytes were read, and found to be what b's fill is making.
func (s *slowOpen) readOf(t *testing.T, r *rig) {
	t.Helper()
	waitFor(t, func() bool { return s.opened.Load() > 0 })
	waitFor(t, func() bool {
		entries, err := r.Entries(t.Context(), plugin.EntryFilter{State: "all"})
		return err == nil && len(entries) == 1
	})
}

func TestContentThatAnotherFillIsMakingIsWaitedFor(t *testing.T) {
	r, source := twins(t, nil)
	b := r.startCreate(t, "gated:b", "vb")
	<-source.reached
	a := r.startCreate(t, "gated:a", "va")
	source.readOf(t, r)
	close(source.goOn)
	if got := <-b; got.Outcome != plugin.Filled {
		t.Errorf("b: %+v", got)
	}
	if got := <-a; got.Outcome == plugin.Bypassed || got.Outcome == "" {
		t.Errorf("a: %+v", got)
	}
	r.wantEntries(t, 1)
	opened := source.opened.Load()
	if got := r.create(t, "gated:a", "va2", mib); got.Outcome != plugin.Hit || source.opened.Load() != opened {
		t.Errorf("a again: %s, %d more downloads", got.Outcome, source.opened.Load()-opened)
	}
}

func TestContentIsMadeAnewWhereTheOtherFillFails(t *testing.T) {
	r, source := twins(t, imagesource.ErrUnavailable)
	b := r.startCreate(t, "gated:b", "vb")
	<-source.reached
	a := r.startCreate(t, "gated:a", "va")
	source.readOf(t, r)
	goOn := source.goOn
	source.slowDown("a", nil) // which is read again, on the row that b has left
	close(goOn)
	if got := <-b; got.Outcome == plugin.Filled {
		t.Errorf("b: %+v", got)
	}
	select {
	case <-source.reached:
	case got := <-a:
		t.Fatalf("a: %+v", got)
	}
	b = r.startCreate(t, "gated:b", "vb2") // waits for it, and does not take it for one that nobody works on
	waitFor(t, func() bool { return len(r.Fills()) == 2 })
	close(source.goOn)
	for name, done := range map[string]<-chan plugin.Answer{"a": a, "b": b} {
		if got := <-done; got.Outcome == plugin.Bypassed || got.Outcome == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	r.wantEntries(t, 1)
}
