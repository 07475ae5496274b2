//go:build openstack

package openstack

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRatesInFrontOfGlance measures at which rate an image of 256 MiB that the daemon keeps comes from there, beside Glance,
// in turns: of an image in Glance's file store and of one in Ceph, for one client and for eight at once. A client that
// copies what it gets takes much of this machine's processors itself; one that drops it takes little, as clients on other hosts do.
// Glance has a worker for each processor, which is its own default.
//
//	go test -run '^$' -bench RatesInFrontOfGlance -benchtime 1x -tags ceph,pacific,openstack ./e2e/openstack
func BenchmarkRatesInFrontOfGlance(b *testing.B) {
	if b.N > 1 {
		b.Skip("one run is all there is to it: -benchtime 1x")
	}
	w, ours := beginFront(b)
	defer w.end(b)
	defer lab.set(b, "GLANCE_WORKERS=1", "glance")
	lab.set(b, fmt.Sprintf("GLANCE_WORKERS=%d", runtime.NumCPU()), "glance")
	b.ReportMetric(0, "ns/op")
	for _, store := range []string{"file", "rbd"} {
		image := w.uploadTo(b, newDisk(b, uint64(time.Now().UnixNano()), rateBytes, rateBytes).path, store)
		for _, c := range []clients{{1, copying}, {1, dropping}, {8, copying}, {8, dropping}} {
			b.ReportMetric(w.rates(b, ours, image, c), fmt.Sprintf("%s-%d-%s-to-Glance", store, c.n, c.take))
		}
	}
}

const rateBytes = 256 * mib

// clients are how many download at once, and what they do with what they get.
type clients struct {
	n    int
	take taking
}

// taking is what a client does with what it gets.
type taking string

const (
	copying  taking = "copying"  // into its own memory
	dropping taking = "dropping" // in the kernel
)

// rates measures the daemon and Glance in turns, and returns how many times Glance's rate the daemon's is, by their medians.
func (w *world) rates(b *testing.B, ours front, image string, c clients) float64 {
	b.Helper()
	const rounds = 7
	took, used := make(map[string][]time.Duration), make(map[string]time.Duration)
	servers := []struct {
		name, url string
		session   int
	}{{"the daemon", ours.url, w.daemon.PID()}, {"Glance", lab.url(1, ""), lab.session(b, "glance")}}
	for round := range rounds + 1 {
		for _, s := range servers {
			before, begun := processor(b, s.session), time.Now()
			w.takeAll(b, s.url, image, c)
			if round > 0 { // in the first one nothing is cached yet
				took[s.name] = append(took[s.name], time.Since(begun))
				used[s.name] += processor(b, s.session) - before
			}
		}
	}
	rate := make(map[string]float64)
	for _, s := range servers {
		rate[s.name] = float64(c.n) * rateBytes / mib / median(took[s.name]).Seconds()
		b.Logf("%d %s, %-10s %.0f MiB/s, %v of a processor in the server for each", c.n, c.take, s.name, rate[s.name], used[s.name]/time.Duration(rounds*c.n))
	}
	return rate["the daemon"] / rate["Glance"]
}

func (w *world) takeAll(b *testing.B, url, image string, c clients) {
	b.Helper()
	var all sync.WaitGroup
	for range c.n {
		all.Go(func() {
			if err := w.demo.takeFrom(url, image, c.take); err != nil {
				b.Errorf("%s: %v", url, err)
			}
		})
	}
	all.Wait()
}

// takeFrom downloads an image's data over a connection of its own.
func (c *cloud) takeFrom(url, image string, how taking) error {
	r, err := http.NewRequest(http.MethodGet, url+"/v2/images/"+image+"/file", http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("X-Auth-Token", c.token)
	conn, err := net.Dial("tcp", r.URL.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.Write(conn); err != nil {
		return err
	}
	head := bufio.NewReader(conn)
	answer, err := http.ReadResponse(head, r)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK || answer.ContentLength != rateBytes {
		return fmt.Errorf("%d with %d bytes", answer.StatusCode, answer.ContentLength)
	}
	rest := rateBytes - int64(head.Buffered())
	if how == dropping {
		return drop(conn.(*net.TCPConn), rest)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(conn, rest), make([]byte, mib))
	return err
}

// drop lets the kernel drop so many bytes where it has them: MSG_TRUNC, see tcp(7).
func drop(conn *net.TCPConn, n int64) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	room := make([]byte, mib) // nothing is written to it
	for n > 0 {
		var got int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			got, _, failed = syscall.Recvfrom(int(fd), room[:min(n, mib)], syscall.MSG_TRUNC)
			return failed != syscall.EAGAIN
		})
		if err != nil || failed != nil {
			return fmt.Errorf("with %d bytes to come: %v %v", n, err, failed)
		}
		if got == 0 {
			return io.ErrUnexpectedEOF
		}
		n -= int64(got)
	}
	return nil
}

// uploadTo is upload into one of Glance's stores.
func (w *world) uploadTo(tb testing.TB, path, store string) string {
	tb.Helper()
	var image struct{ ID string }
	w.demo.must(tb, call{"POST", glanceURL(""), object{"name": tb.Name(), "disk_format": "raw", "container_format": "bare"}}, &image)
	w.images = append(w.images, image.ID)
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPut, glanceURL("/"+image.ID+"/file"), file)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header = http.Header{"X-Auth-Token": {w.demo.token}, "Content-Type": {"application/octet-stream"}, "X-Image-Meta-Store": {store}}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		tb.Fatalf("upload to %s: %d", store, answer.StatusCode)
	}
	return image.ID
}
