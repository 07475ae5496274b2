//go:build ceph

package cephproof

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

const (
	requesters   = 6
	shortestLoad = 50 * time.Millisecond
	longestLoad  = 600 * time.Millisecond
)

// kills is how often the daemon is killed in bursts of hits.
func kills(tb testing.TB) int {
	tb.Helper()
	words := os.Getenv("CLONECACHE_KILLS")
	if words == "" {
		return 15
	}
	n, err := strconv.Atoi(words)
	if err != nil {
		tb.Fatalf("CLONECACHE_KILLS=%s: %v", words, err)
	}
	return n
}

// Killed at any moment in bursts of hits, a daemon leaves whole volumes or none, once it has settled what
// it was at: each one that was answered is there; none is without its parent, unknown to it or of the wrong
// size; nothing else is in the pools; and a request that got no answer ends right when it is repeated,
// also where that is at once, while the OSD still takes the killed client for alive.
func TestKilledInBurstsOfHits(t *testing.T) {
	t.Parallel()
	s := newSite(t, cluster, harness.Config{Images: shelf.Make(t)})
	d := harness.Start(t, s.Config)
	d.Create(t, harness.Volume{Image: "library:one.raw", Name: "first", Size: volumeSize})

	b := harness.Burst{Daemon: d, Requesters: requesters, Request: api.CreateRequest{Image: "library:one.raw", SizeBytes: volumeSize}}
	random := rand.New(rand.NewPCG(4, 1))
	for round := range kills(t) {
		b.LoadAndKill(t, fmt.Sprintf("v-%d", round), shortestLoad+time.Duration(random.Int64N(int64(longestLoad-shortestLoad))))
		d.Start(t)
	}
	for _, a := range b.Bypassed() {
		t.Errorf("volume %s was not made: %s: %s", a.Volume, a.Reason, a.Detail)
	}
	repeated := repeatUnanswered(t, s, &b)
	s.settled(t, d)
	there := s.names(t)
	if want := 1 + len(b.Asked()); len(there) != want {
		t.Errorf("volumes in the end: got %d, want all %d that were asked for", len(there), want)
	}
	for _, name := range there {
		s.wholeVolume(t, harness.Volume{Name: name, Size: volumeSize}, filepath.Join(s.Images, "one.raw.disk"))
	}
	t.Logf("%d kills: %d volumes were answered, %d that got no answer were asked for again: %v", kills(t), len(b.Answered()), len(b.Asked())-len(b.Answered()), repeated)
}

// repeatUnanswered asks again for each volume that got no answer, and counts what that came to. A daemon
// that cannot settle the first attempt yet steps aside; then it is asked once more, as long as it may be.
func repeatUnanswered(t *testing.T, s *site, b *harness.Burst) map[string]int {
	t.Helper()
	answered := map[string]bool{}
	for _, name := range b.Answered() {
		answered[name] = true
	}
	came := map[string]int{}
	client := b.Client(t)
	for _, name := range b.Asked() {
		if answered[name] {
			continue
		}
		r := b.Request
		r.Volume = backends.VolumeName(name)
		var a plugin.Answer
		harness.Until(t, "the repeated request for "+name+" makes it", func() bool {
			var err error
			if a, err = client.CreateVolume(t.Context(), r, nil); err != nil {
				t.Fatalf("repeat the request for %s: %v", name, err)
			}
			came[fmt.Sprintf("%s, %s", a.Outcome, a.Reason)]++
			return a.Outcome != plugin.Bypassed
		})
		if a.SizeBytes != volumeSize {
			t.Errorf("volume %s: got %d bytes, want %d", name, a.SizeBytes, volumeSize)
		}
	}
	return came
}
