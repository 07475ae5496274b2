//go:build ceph && storm

package cephproof

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

const (
	stormImages   = 20
	stormRequests = 1000
	// stormRate is how many bytes of an image a stream brings in a second: the storm lasts, and has a middle.
	stormRate = 4 * mib
	// stormPatience bounds one request, with all its repetitions.
	stormPatience = 10 * time.Minute
	verifiers     = 4
)

// storm are the first requests for images, all at once, on three hosts and in any order.
type storm struct {
	*threeHosts
	requests []*request
	answered atomic.Int64
	middle   chan struct{} // closed once a fifth of all are answered
	all      sync.WaitGroup
}

// request is one of a storm. What fails or is bypassed is asked for again, under its name, on the same host.
type request struct {
	host   int
	image  string
	volume string
	tries  int
	last   reply
	why    []string // it was repeated
}

func imageOf(n int) string { return fmt.Sprintf("storm-%d.raw", n) }

// brew makes images, and shuffles the requests.
func brew(t *testing.T, h *threeHosts, seed uint64) *storm {
	t.Helper()
	s := &storm{threeHosts: h, middle: make(chan struct{})}
	for n := range stormImages {
		h.image(t, imageOf(n), seed*1000+uint64(n))
	}
	for n := range stormRequests {
		s.requests = append(s.requests, &request{host: n % len(h.hosts), image: imageOf(n / len(h.hosts) % stormImages), volume: fmt.Sprintf("storm-%d", n)})
	}
	rand.New(rand.NewPCG(seed, 11)).Shuffle(len(s.requests), func(i, j int) { s.requests[i], s.requests[j] = s.requests[j], s.requests[i] })
	h.web.SetRate(stormRate)
	return s
}

// begin asks for all.
func (s *storm) begin(t *testing.T) {
	t.Helper()
	for _, r := range s.requests {
		client := s.hosts[r.host].Client(t)
		s.all.Go(func() { s.run(t, r, client) })
	}
}

func (s *storm) run(t *testing.T, r *request, client *api.Client) {
	wait := 100 * time.Millisecond
	for began := time.Now(); time.Since(began) < stormPatience; {
		r.tries++
		a, err := client.CreateVolume(t.Context(), api.CreateRequest{Image: "web:" + r.image, Volume: backends.VolumeName(r.volume), SizeBytes: volumeSize}, nil)
		if r.last = (reply{r.image, a, err}); err == nil && a.Outcome != plugin.Bypassed {
			break
		}
		r.why = append(r.why, fmt.Sprint(a.Reason, " ", a.Detail, " ", err))
		select {
		case <-time.After(wait): // as a control plane that tries again
			wait = min(2*wait, 5*time.Second)
		case <-t.Context().Done():
			return
		}
	}
	if s.answered.Add(1) == stormRequests/5 {
		close(s.middle)
	}
}

// awaitMiddle returns in the midst of the storm, and says what is filled then.
func (s *storm) awaitMiddle(t *testing.T) {
	t.Helper()
	select {
	case <-s.middle:
	case <-time.After(stormPatience):
		t.Fatalf("%d of %d requests are answered", s.answered.Load(), stormRequests)
	}
	for n, d := range s.hosts {
		fills, err := d.Client(t).Fills(t.Context())
		t.Logf("in the middle, %d answered: host %d knows of %d fills, %v", s.answered.Load(), n, len(fills), err)
	}
}

// over waits for the end, and wants every volume whole, and each image-volume once.
func (s *storm) over(t *testing.T, began time.Time) {
	t.Helper()
	s.all.Wait()
	outcomes, repeated, why := map[plugin.Outcome]int{}, 0, map[string]int{}
	for _, r := range s.requests {
		outcomes[r.last.Outcome]++
		repeated += len(r.why)
		for _, w := range r.why {
			why[w]++
		}
	}
	t.Logf("%d requests were answered in %.1f s: %v; %d were repeated", stormRequests, time.Since(began).Seconds(), outcomes, repeated)
	for w, n := range why {
		t.Logf("%d repeated for: %s", n, w)
	}
	s.verify(t)
	for _, d := range s.hosts {
		s.settled(t, d)
		ready := 0
		for _, e := range d.Entries(t) {
			if e.State == "ready" {
				ready++
			}
		}
		if ready != stormImages {
			t.Errorf("%d entries are ready, want %d", ready, stormImages)
		}
	}
	s.allUp(t)
}

// verify reads all volumes.
func (s *storm) verify(t *testing.T) {
	t.Helper()
	began := time.Now()
	t.Run("volumes", func(t *testing.T) {
		for n := range verifiers {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				for i := n; i < len(s.requests); i += verifiers {
					r := s.requests[i]
					r.last.Volume = backends.VolumeName(r.volume)
					s.made(t, r.last, plugin.Filled, plugin.Joined, plugin.Hit)
				}
			})
		}
	})
	t.Logf("all volumes were read in %.1f s", time.Since(began).Seconds())
}

// onceRead: each image was read once.
func (s *storm) onceRead(t *testing.T) {
	t.Helper()
	fills := map[string]int{}
	for _, r := range s.requests {
		if r.last.Outcome == plugin.Filled {
			fills[r.image]++
		}
	}
	for n := range stormImages {
		image := imageOf(n)
		if fills[image] != 1 || s.web.Sent(image) != imageSize {
			t.Errorf("%s was filled %d times, and %d bytes of it were read, of %d", image, fills[image], s.web.Sent(image), int64(imageSize))
		}
	}
}

// sent are the bytes that were read of all images, and of the one of which most were.
func (s *storm) sent() (all int64, most int64) {
	for n := range stormImages {
		all, most = all+s.web.Sent(imageOf(n)), max(most, s.web.Sent(imageOf(n)))
	}
	return all, most
}

// A thousand volumes of twenty images are asked for at once: each image is read once, and all get theirs.
func TestStormOnThreeHosts(t *testing.T) {
	s := brew(t, newThreeHosts(t), 1)
	began := time.Now()
	s.begin(t)
	s.over(t, began)
	s.onceRead(t)
	for _, r := range s.requests {
		if r.tries > 1 {
			t.Errorf("volume %s was asked for %d times", r.volume, r.tries)
		}
	}
}

// In the middle one host is killed, one is stopped for three leases, and one is cut off from the database. What they were reading is
// read once more at most, and everything else once.
func TestStormInWhichEachHostFails(t *testing.T) {
	s := brew(t, newThreeHosts(t), 2)
	began := time.Now()
	s.begin(t)
	s.awaitMiddle(t)
	if err := s.hosts[1].Suspend(); err != nil {
		t.Fatal(err)
	}
	over := time.After(3 * lease)
	s.ways[2].cut()
	s.hosts[0].Kill()
	s.hosts[0].Start(t)
	<-over
	if err := s.hosts[1].Resume(); err != nil {
		t.Fatal(err)
	}
	s.ways[2].mend()
	s.over(t, began)
	all, most := s.sent()
	t.Logf("read: %.2f of all images, at most %.2f of one", float64(all)/(stormImages*imageSize), float64(most)/imageSize)
	if most > 2*imageSize {
		t.Errorf("%d bytes of an image were read, more than twice its %d", most, int64(imageSize))
	}
}

// The catalog is on a Galera cluster. The node that all write to is killed, then the one that they went on with, and each tenth transaction loses to
// another one.
func TestStormOnGalera(t *testing.T) {
	h := newThreeHostsOn(t, &harness.Database{Dir: fmt.Sprintf("/tmp/cc-storm-db-%d", os.Getpid()), Port: cluster.Port + ports, Galera: true})
	for n, ways := range h.ways {
		for m, way := range ways {
			way.LoseCommits(0.1, uint64(10*n+m))
		}
	}
	s := brew(t, h, 3)
	began := time.Now()
	s.begin(t)
	s.awaitMiddle(t)
	for _, node := range []int{1, 2} {
		h.db.KillNode(t, node)
		h.db.StartNode(t, node)
	}
	s.over(t, began)
	s.onceRead(t)
	lost := 0
	for _, ways := range h.ways {
		for _, way := range ways {
			lost += way.LostCommits()
		}
	}
	t.Logf("%d transactions were lost", lost)
	if lost == 0 {
		t.Error("no transaction was lost")
	}
}
