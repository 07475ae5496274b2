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

// Two images of one content are filled at once, each by its own bytes; one of them is kept.
func TestContentThatTwoFillsReadIsOneEntry(t *testing.T) {
	r, source := twins(t, nil)
	b := r.startCreate(t, "gated:b", "vb")
	<-source.reached
	if a := r.create(t, "gated:a", "va", 0); a.Outcome != plugin.Filled {
		t.Errorf("a: %+v", a)
	}
	close(source.goOn)
	if got := <-b; got.Outcome != plugin.Filled || got.DownloadedBytes != mib {
		t.Errorf("b: %+v, want its own bytes read", got)
	}
	e := r.wantEntries(t, 1)[0]
	if len(e.ImageIDs) != 2 {
		t.Errorf("known as %v, want both", e.ImageIDs)
	}
	opened := source.opened.Load()
	for i, image := range []string{"gated:a", "gated:b"} {
		if got := r.create(t, image, string("vw"[i])+"2", mib); got.Outcome != plugin.Hit || source.opened.Load() != opened {
			t.Errorf("%s again: %s, %d more downloads", image, got.Outcome, source.opened.Load()-opened)
		}
	}
	checkClean(t, r)
}

// One image's source fails: that is nothing to the other image of the same content.
func TestAnImageOfEqualContentDoesNotShareTheOthersFailure(t *testing.T) {
	r, source := twins(t, imagesource.ErrUnavailable)
	b := r.startCreate(t, "gated:b", "vb")
	<-source.reached
	a := r.startCreate(t, "gated:a", "va")
	if got := <-a; got.Outcome != plugin.Filled {
		t.Errorf("a: %+v", got)
	}
	close(source.goOn)
	if got := <-b; got.Outcome == plugin.Filled {
		t.Errorf("b: %+v, want its source's failure", got)
	}
	if got := r.create(t, "gated:a", "va2", mib); got.Outcome != plugin.Hit {
		t.Errorf("a again: %+v", got)
	}
}
