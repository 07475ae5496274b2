package plugin_test

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
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

func TestARequestWhoseDeadlineCannotBeMetIsBypassedAtOnce(t *testing.T) {
	var later atomic.Int64 // nanoseconds
	source := newGatedSource()
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(source), func(c *plugin.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	source.put("slow", "1", random(8*mib))
	answered := r.start(plugin.Request{Image: "gated:slow", Volume: "v1", Deadline: time.Now().Add(time.Minute)})
	<-source.half
	waitFor(t, func() bool { f := r.Fills(); return len(f) == 1 && f[0].ReadBytes >= 3*mib })
	later.Store(int64(40 * time.Second)) // half of it took so long
	got := <-answered
	if got.err != nil || got.a.Outcome != plugin.Bypassed || got.a.Reason != plugin.ReasonDeadline || got.a.ETA == nil || got.a.Detail == "" {
		t.Fatalf("got %+v, %v, want it bypassed with the estimated end", got.a, got.err)
	}
	close(source.gate)
	waitFor(t, func() bool { return len(r.Fills()) == 0 })
	if e := r.wantEntries(t, 1)[0]; e.State != "ready" {
		t.Errorf("the fill did not go on: %+v", e)
	}
}
