//go:build ceph

package cephproof

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// outage is one way in which a cluster stops answering.
type outage struct {
	name     string
	down, up string // verbs of cluster.sh
	serves   bool   // a hit needs nothing of what is down
}

var outages = []outage{
	{name: "OSD killed", down: "osd-kill", up: "osd-start"},
	{name: "OSD stopped", down: "osd-stop", up: "osd-start"},
	{name: "mon stopped", down: "mon-stop", up: "mon-start", serves: true},
}

// outageLasts is how long a cluster stays without its OSD or mon.
func outageLasts(tb testing.TB) time.Duration {
	tb.Helper()
	words := os.Getenv("CLONECACHE_OUTAGE")
	if words == "" {
		return 8 * time.Second
	}
	d, err := time.ParseDuration(words)
	if err != nil {
		tb.Fatalf("CLONECACHE_OUTAGE=%s: %v", words, err)
	}
	return d
}

// testOutages: while the cluster does not answer, requests for it are bypassed within the configured time,
// a fill in flight and clones in flight too, and another backend's hits take what they always take. Once
// the cluster is back, hits are hits again, and nothing is left of what was in flight.
func testOutages(t *testing.T, on *harness.Cluster) {
	r := newRig(t, on, callTimeout)
	for n, o := range outages {
		t.Run(o.name, func(t *testing.T) { r.outage(t, on, o, n) })
	}
	t.Run("start without the mon", func(t *testing.T) { r.startWithout(t, on) })
	r.settled(t, r.Daemon)
	r.filled(t, "ceph", fresh, "after-all")
	r.settled(t, r.Daemon)
	r.allThere(t)
}

func (r *rig) outage(t *testing.T, on *harness.Cluster, o outage, n int) {
	before := r.localHits(t, fmt.Sprintf("before-%d", n), 20)
	reached, release := r.web.HoldAt(t, fresh, imageSize/2)
	var inFlight sync.WaitGroup
	inFlight.Go(func() { r.bypassed(t, fresh, fmt.Sprintf("filling-%d", n)) })
	<-reached
	began := time.Now()
	on.Do(t, o.down)
	up := sync.OnceFunc(func() { on.Do(t, o.up) })
	defer up()
	release()
	for i := range 3 {
		inFlight.Go(func() {
			if o.serves {
				r.ask(t, "ceph", cached, fmt.Sprintf("cloning-%d-%d", n, i))
				return
			}
			r.bypassed(t, cached, fmt.Sprintf("cloning-%d-%d", n, i))
		})
	}
	during := r.localHits(t, fmt.Sprintf("during-%d", n), 20)
	if limit := 4*before + callTimeout/2; during > limit { // one that waited for the cluster would take its time-out
		t.Errorf("hits on another backend, p50: %v, before it was %v", during, before)
	}
	inFlight.Wait()
	if left := outageLasts(t) - time.Since(began); left > 0 {
		<-time.After(left) // that long it is
	}
	up()
	t.Logf("down for %v; another backend's hits: p50 %v before, %v meanwhile", time.Since(began).Round(time.Second), before, during)
	tries := 0
	harness.Until(t, "hits are hits again", func() bool {
		tries++
		return r.ask(t, "ceph", cached, fmt.Sprintf("back-%d-%d", n, tries)).Outcome == plugin.Hit
	})
}

// startWithout: a daemon that starts while the cluster does not answer serves its other backend, and this
// one once the cluster is there.
func (r *rig) startWithout(t *testing.T, on *harness.Cluster) {
	r.Kill()
	on.Do(t, "mon-stop")
	up := sync.OnceFunc(func() { on.Do(t, "mon-start") })
	defer up()
	r.Start(t)
	r.localHits(t, "alone", 1)
	r.bypassed(t, cached, "no-cluster")
	up()
	tries := 0
	harness.Until(t, "hits are hits again", func() bool {
		tries++
		return r.ask(t, "ceph", cached, fmt.Sprintf("found-%d", tries)).Outcome == plugin.Hit
	})
}

// bypassed asks the cluster for a volume, which must be bypassed soon.
func (r *rig) bypassed(t *testing.T, image, name string) {
	began := time.Now()
	a := r.ask(t, "ceph", image, name)
	if a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonUnavailable {
		t.Errorf("%s: got %s, %s (%s), want it bypassed: backend_unavailable", name, a.Outcome, a.Reason, a.Detail)
	}
	if took := time.Since(began); took > soon {
		t.Errorf("%s: bypassed after %v, want at most %v", name, took, soon)
	} else {
		t.Logf("%s: bypassed after %v", name, took.Round(10*time.Millisecond))
	}
}

// localHits makes volumes on the other backend, and tells the median of what they took.
func (r *rig) localHits(t *testing.T, prefix string, count int) time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range count {
		began := time.Now()
		if a := r.ask(t, "local", cached, fmt.Sprintf("%s-%d", prefix, i)); a.Outcome != plugin.Hit {
			t.Errorf("a hit on another backend: got %s, %s: %s", a.Outcome, a.Reason, a.Detail)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}
