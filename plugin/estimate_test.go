package plugin_test

import (
	"bytes"
	"context"
	"math"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// pipes is a network of one server, for clocks that are not the machine's.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func newPipes() *pipes { return &pipes{accept: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.accept <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// throttled serves one image over HTTP, in steps of a quarter of a second at most, at a rate that changes.
type throttled struct {
	content []byte
	rate    func(took time.Duration, share float64) float64 // bytes a second, after so long, and so much of the image

	serving sync.WaitGroup // requests
}

func (s *throttled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.serving.Add(1)
	defer s.serving.Done()
	w.Header().Set("ETag", `"1"`)
	if r.Method == http.MethodGet {
		w = &slowWriter{ResponseWriter: w, throttled: s, begun: time.Now()}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
}

type slowWriter struct {
	http.ResponseWriter
	*throttled
	begun time.Time
	sent  int
}

func (w *slowWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		rate := w.rate(time.Since(w.begun), float64(w.sent)/float64(len(w.content)))
		n, err := w.ResponseWriter.Write(p[done:min(done+int(rate/4)+1, len(p))])
		done, w.sent = done+n, w.sent+n
		if err == nil {
			err = http.NewResponseController(w.ResponseWriter).Flush()
		}
		if err != nil {
			return done, err
		}
		time.Sleep(time.Duration(float64(n) / rate * float64(time.Second))) // of the bubble: no test waits
	}
	return len(p), nil
}

// Of ten fills from a source whose rate changes, nine have estimates that are within a fifth of the truth nine times out of ten, from
// a quarter of the image on. What changes for good later than that, nobody can know before.
func TestEstimatesOfFillsAreRightWithinAFifth(t *testing.T) {
	const kib, size = 1 << 10, 16 * mib
	wave := func(most, least float64, period time.Duration) func(time.Duration, float64) float64 {
		return func(took time.Duration, _ float64) float64 {
			if took%period < period/2 {
				return most
			}
			return least
		}
	}
	steps := func(shares []float64, rates ...float64) func(time.Duration, float64) float64 {
		return func(_ time.Duration, share float64) float64 {
			for i, until := range shares {
				if share < until {
					return rates[i]
				}
			}
			return rates[len(shares)]
		}
	}
	right, all := 0, 0
	for _, c := range []struct {
		name string
		rate func(time.Duration, float64) float64
	}{
		{"the same", wave(100*kib, 100*kib, time.Minute)},
		{"half and one and a half, each two seconds", wave(90*kib, 30*kib, 4*time.Second)},
		{"half and one and a half, each five seconds", wave(90*kib, 30*kib, 10*time.Second)},
		{"half and one and a half, each ten seconds", wave(60*kib, 20*kib, 20*time.Second)},
		{"half and one and a half, each half minute", wave(24*kib, 8*kib, time.Minute)},
		{"twice as slow after a tenth", steps([]float64{.1}, 200*kib, 100*kib)},
		{"twice as fast after a tenth", steps([]float64{.1}, 50*kib, 100*kib)},
		{"fast, then slow, before a quarter", steps([]float64{.1, .15}, 400*kib, 50*kib, 100*kib)},
		{"a fifth up and down", steps([]float64{.4, .6, .8}, 100*kib, 85*kib, 110*kib, 95*kib)},
		{"ever slower", func(_ time.Duration, share float64) float64 { return (110 - 20*share) * kib }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, of, took := estimates(t, &throttled{content: random(size), rate: c.rate})
				t.Logf("%d of %d estimates were right, in %v", good, of, took)
				if all++; of > 0 && good*10 >= of*9 {
					right++
				}
			})
		})
	}
	if right*10 < all*9 {
		t.Errorf("%d of %d fills were estimated right, want nine of ten", right, all)
	}
}

// estimates fills an image, and counts the estimates that were given each second from a quarter on, and those that were right.
func estimates(t *testing.T, source *throttled) (good, all int, took time.Duration) {
	t.Helper()
	network := newPipes()
	server := &http.Server{Handler: source}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(network) }) // it ends with ErrServerClosed
	transport := &http.Transport{DialContext: network.dial}
	web, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: "http://images.example.org", Client: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(clonable()), withSource(web), func(c *plugin.Config) {
		c.QueueEvery, c.FlushEvery, c.LeaseFor = time.Hour, time.Minute, time.Hour // what goes on beside would take most of the test's time
	})
	begun := time.Now()
	answered := r.start(plugin.Request{Image: "web:disk.raw", Volume: "v"})
	type guess struct{ at, eta time.Time }
	var guesses []guess
	for done := false; !done; {
		select {
		case got := <-answered:
			if done = true; got.err != nil {
				t.Fatal(got.err)
			}
		case <-time.After(time.Second):
			for _, f := range r.Fills() {
				if f.ReadBytes*4 < f.TotalBytes || f.ReadBytes == f.TotalBytes {
					continue
				}
				if all++; f.ETA != nil {
					guesses = append(guesses, guess{time.Now(), *f.ETA})
				}
			}
		}
	}
	end := time.Now()
	for _, g := range guesses {
		left := end.Sub(g.at).Seconds()
		if math.Abs(g.eta.Sub(end).Seconds()) <= max(left/5, 1) {
			good++
		}
	}
	transport.CloseIdleConnections()
	source.serving.Wait()
	_ = server.Close()
	serving.Wait()
	return good, all, end.Sub(begun)
}
