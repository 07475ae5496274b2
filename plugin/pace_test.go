package plugin_test

import (
	"context"
	"io"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// The rate of the source changes twice; from a quarter on, nine of ten estimates are within a fifth of the truth.
func TestEstimatesFollowTheSource(t *testing.T) {
	const total = 1000 * mib
	rates := func(read int64) float64 { // bytes a second
		switch {
		case read < total*2/10:
			return 40 * mib
		case read < total/4:
			return 5 * mib
		}
		return 10 * mib
	}
	var p plugin.Pace
	begun := time.Now()
	type guess struct{ at, eta time.Time }
	var guesses []guess
	now, read := begun, float64(0)
	for read < total {
		p.Note(now, int64(read))
		if int64(read) >= total/4 {
			if eta := p.ETA(now, int64(read), total); eta != nil {
				guesses = append(guesses, guess{now, *eta})
			}
		}
		now, read = now.Add(50*time.Millisecond), read+rates(int64(read))*0.05
	}
	good := 0
	for _, g := range guesses {
		left := now.Sub(g.at).Seconds()
		if math.Abs(g.eta.Sub(now).Seconds()) <= max(left/5, 0.2) {
			good++
		}
	}
	if len(guesses) < 100 || good*10 < len(guesses)*9 {
		t.Errorf("%d of %d estimates are good, want nine of ten", good, len(guesses))
	}
	if eta := p.ETA(now, 10, -1); eta != nil {
		t.Errorf("of an unknown length: %s", eta)
	}
}

// Another host says each ten seconds how much it has read, and is asked every two: nobody is sent away, or told nothing, for that.
func TestEstimatesOfAnotherHostsFill(t *testing.T) {
	const rate, total = 10 * mib, 3000 * mib
	var p plugin.Pace
	begun := time.Now()
	end := begun.Add(total / rate * time.Second)
	for took := time.Duration(0); took < 295*time.Second; took += 1900 * time.Millisecond {
		now, read := begun.Add(took), int64(took/(10*time.Second))*10*rate
		p.Hear(now, read)
		if read < total/4 {
			continue
		}
		if eta := p.ETA(now, read, total); eta == nil || math.Abs(eta.Sub(end).Seconds()) > max(end.Sub(now).Seconds()/5, 4) {
			t.Errorf("after %s: got %v, want about %s", took, eta, end)
		}
	}
}

// A clock that only the reading moves: each piece of the image takes a fifth of a second, so that what is read ahead of the
// decoding, a block of eight pieces, takes less than a source may stand still.
func TestARequestWhoseDeadlineCannotBeMetIsBypassedAtOnce(t *testing.T) {
	begun, read := time.Now(), new(atomic.Int64)
	source := &slowSource{gatedSource: newGatedSource(), read: read}
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(source), func(c *plugin.Config) {
		c.Now = func() time.Time { return begun.Add(time.Duration(read.Load()) * time.Second / 5) }
	})
	source.put("slow", "1", random(64*mib))
	answered := r.start(plugin.Request{Image: "gated:slow", Volume: "v1", Deadline: begun.Add(time.Minute)})
	got := <-answered // the source stands in its middle, but no time passes there
	if got.err != nil || got.a.Outcome != plugin.Bypassed || got.a.Reason != plugin.ReasonDeadline || got.a.ETA == nil || got.a.Detail == "" {
		t.Fatalf("got %+v, %v, want it bypassed with the estimated end", got.a, got.err)
	}
	close(source.gate)
	waitFor(t, func() bool { return len(r.Fills()) == 0 })
	if e := r.wantEntries(t, 1)[0]; e.State != "ready" {
		t.Errorf("the fill did not go on: %+v", e)
	}
}

// slowSource counts the pieces that are read of its images.
type slowSource struct {
	*gatedSource
	read *atomic.Int64
}

func (s *slowSource) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	stream, err := s.gatedSource.Open(ctx, i)
	return &slowStream{stream, s.read}, err
}

type slowStream struct {
	io.ReadCloser
	read *atomic.Int64
}

func (s *slowStream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), 128<<10)])
	s.read.Add(1)
	return n, err
}

func TestOfWhatStandsStillNobodyKnowsTheEnd(t *testing.T) {
	var p plugin.Pace
	begun := time.Now()
	for s := range 10 {
		p.Note(begun.Add(time.Duration(s)*time.Second), int64(s)*mib)
	}
	for _, test := range []struct {
		after time.Duration
		known bool
	}{{10 * time.Second, true}, {13 * time.Second, false}, {time.Hour, false}} {
		if eta := p.ETA(begun.Add(test.after), 9*mib, 100*mib); (eta != nil) != test.known {
			t.Errorf("after %s: %v, want it known: %v", test.after, eta, test.known)
		}
	}
}
