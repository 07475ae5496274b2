//go:build openstack

package openstack

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
)

// BenchmarkInFrontOfGlance measures downloads of an image of 256 MiB through the daemon beside Glance's own, and beside those
// of a Glance with its cache on, in turns: whole ones, the time to the first byte, and twenty at once of what nobody has
// cached; and what memory the daemon takes for that.
//
//	go test -run '^$' -bench InFrontOfGlance -benchtime 1x -tags ceph,pacific,openstack ./e2e/openstack
func BenchmarkInFrontOfGlance(b *testing.B) {
	if b.N > 1 {
		b.Skip("one run is all there is to it: -benchtime 1x")
	}
	w, ours := beginFront(b)
	defer w.end(b)
	theirs, cached := front{url: lab.url(1, "")}, w.glanceCached(b)
	disk := func() string { return newDisk(b, uint64(time.Now().UnixNano()), 256*mib, 256*mib).path }
	image := w.upload(b, disk(), "raw", nil)
	b.ReportMetric(0, "ns/op")

	before := memory(b, w.daemon)
	twenty := map[string][]fetched{"the daemon": w.atOnce(b, ours, w.upload(b, disk(), "raw", nil)), "Glance": w.atOnce(b, theirs, image)}
	for who, all := range twenty {
		b.Logf("twenty at once, %-10s first byte %v (last of all %v), whole %v", who, median(firsts(all)), slices.Max(firsts(all)), median(wholes(all)))
	}
	b.Logf("the daemon's memory: %d MiB before, %d MiB at most while twenty read what it fetches", before/mib, memory(b, w.daemon)/mib)
	b.ReportMetric(slices.Max(firsts(twenty["the daemon"])).Seconds()/slices.Max(firsts(twenty["Glance"])).Seconds(), "twenty-first-byte-ratio")

	took, used := make(map[string][]fetched), make(map[string]time.Duration)
	session := map[string]int{"the daemon": w.daemon.PID(), "Glance": lab.session(b, "glance"), "its cache": lab.session(b, "glance-cached")}
	for range 15 {
		for who, f := range map[string]front{"the daemon": ours, "Glance": theirs, "its cache": cached} {
			before := processor(b, session[who])
			took[who] = append(took[who], w.fetch(b, f, image))
			if len(took[who]) > 1 { // the first is not cached
				used[who] += processor(b, session[who]) - before
			}
		}
	}
	for who, all := range took {
		whole := median(wholes(all[1:]))
		b.Logf("hits, %-10s first byte %v, whole %v, %.0f MiB/s, %v of a processor in the server", who, median(firsts(all[1:])), whole,
			256/whole.Seconds(), used[who]/time.Duration(len(all)-1))
	}
	ratio := func(who string, of func([]fetched) []time.Duration) float64 {
		return median(of(took["the daemon"][1:])).Seconds() / median(of(took[who][1:])).Seconds()
	}
	b.ReportMetric(1/ratio("Glance", wholes), "rate-to-Glance")
	b.ReportMetric(1/ratio("its cache", wholes), "rate-to-its-cache")
	b.ReportMetric(ratio("Glance", firsts), "first-byte-ratio")
	b.ReportMetric(used["Glance"].Seconds()/used["the daemon"].Seconds(), "processor-ratio")
	b.Logf("the daemon's memory: %d MiB at most", memory(b, w.daemon)/mib)
}

// fetched is what one download took, to its first byte and to its last.
type fetched struct{ first, whole time.Duration }

func firsts(all []fetched) []time.Duration {
	return each(all, func(f fetched) time.Duration { return f.first })
}
func wholes(all []fetched) []time.Duration {
	return each(all, func(f fetched) time.Duration { return f.whole })
}

func each(all []fetched, of func(fetched) time.Duration) (took []time.Duration) {
	for _, f := range all {
		took = append(took, of(f))
	}
	return took
}

func (w *world) fetch(b *testing.B, f front, image string) fetched {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, f.url+"/v2/images/"+image+"/file", http.NoBody)
	if err != nil {
		b.Error(err)
		return fetched{}
	}
	r.Header.Set("X-Auth-Token", w.demo.token)
	begun := time.Now()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Error(err)
		return fetched{}
	}
	defer answer.Body.Close()
	one := make([]byte, 1)
	_, err = io.ReadFull(answer.Body, one)
	first := time.Since(begun)
	n, rest := io.CopyBuffer(struct{ io.Writer }{io.Discard}, answer.Body, make([]byte, mib)) // the client is not what is measured
	if err != nil || rest != nil || n+1 != 256*mib {
		b.Errorf("%s: %d, %d bytes, %v %v", f.url, answer.StatusCode, n+1, err, rest)
	}
	return fetched{first, time.Since(begun)}
}

func (w *world) atOnce(b *testing.B, f front, image string) []fetched {
	b.Helper()
	all := make([]fetched, 20)
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { all[i] = w.fetch(b, f, image) })
	}
	group.Wait()
	return all
}

// session is that of a service's processes.
func (l theLab) session(b *testing.B, service string) int {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, "run", service+".pid"))
	if err != nil {
		b.Fatal(err)
	}
	return portOf(strings.TrimSpace(string(text)))
}

// processor is what a process and those of the session that it leads have used of processors. Those that end meanwhile are
// left out.
func processor(b *testing.B, leader int) (used time.Duration) {
	b.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	const tick = time.Second / 100 // Linux tells user space of no other
	for _, path := range all {
		text, err := os.ReadFile(path)
		_, fields, ok := strings.Cut(string(text), ") ") // state, parent, group, session, ...
		if f := strings.Fields(fields); err == nil && ok && (f[3] == strconv.Itoa(leader) || filepath.Dir(path) == fmt.Sprintf("/proc/%d", leader)) {
			for _, n := range f[11:13] { // utime, stime
				ticks, _ := strconv.Atoi(n) // the kernel writes numbers
				used += time.Duration(ticks) * tick
			}
		}
	}
	return used
}

var mostMemory = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// memory is the most that a daemon has had resident so far, in bytes.
func memory(b *testing.B, d *harness.Daemon) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	if err != nil {
		b.Fatal(err)
	}
	m := mostMemory.FindSubmatch(text)
	if m == nil {
		b.Fatal("the kernel does not tell")
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib << 10
}
