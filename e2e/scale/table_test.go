package scale

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// independent clones keep the backend in memory from looking at all of them.
var independent = backends.Info{CanClone: true, CloneMethod: "memory", IndependentClones: true}

// measures are the medians of what was measured at one number of entries: of the processor's time, since
// the machine may have other work, but for the hit, which is too short for that.
type measures struct {
	n        int
	times    []time.Duration
	perEntry int64 // bytes in memory
}

// measure is something that takes time, done often enough for a median.
type measure struct {
	name  string
	grows growth
	times int
	do    func(tb testing.TB, p *plugin.Plugin, i int)
}

// growth is with which power of the entries a time may grow over the last step of the table.
type growth float64

const (
	flat   growth = 0.3 // costs what it does, not what there is
	linear growth = 1.2 // costs what there is
)

// hit is the row that is measured by the clock.
const hit = "hit"

func measured(n int) []measure {
	return []measure{
		{hit, flat, 2000, func(tb testing.TB, p *plugin.Plugin, i int) {
			create(tb, p, imageID(i*7919%n), fmt.Sprint("hit-", i), plugin.Hit)
		}},
		{"fill at the bound, with its eviction", flat, 21, func(tb testing.TB, p *plugin.Plugin, i int) {
			create(tb, p, fmt.Sprint("new-", i), fmt.Sprint("new-", i), plugin.Filled)
		}},
		{"page of 100 entries", flat, 21, func(tb testing.TB, p *plugin.Plugin, i int) {
			if _, err := p.Entries(tb.Context(), plugin.EntryFilter{After: entryID(i * 7919 % n), Limit: 100}); err != nil {
				tb.Fatal(err)
			}
		}},
		{"all entries", linear, 3, func(tb testing.TB, p *plugin.Plugin, _ int) {
			if _, err := p.Entries(tb.Context(), plugin.EntryFilter{}); err != nil {
				tb.Fatal(err)
			}
		}},
		{"entry by the end of its ID", flat, 5, func(tb testing.TB, p *plugin.Plugin, _ int) {
			first, err := p.Entries(tb.Context(), plugin.EntryFilter{Limit: 1})
			if err != nil {
				tb.Fatal(err)
			}
			if _, err := p.Entry(tb.Context(), first[0].ID[24:]); err != nil {
				tb.Fatal(err)
			}
		}},
		{"backends, as metrics and status ask", flat, 5, func(tb testing.TB, p *plugin.Plugin, _ int) {
			if _, err := p.Backends(tb.Context()); err != nil {
				tb.Fatal(err)
			}
		}},
		{"quota", linear, 3, func(tb testing.TB, p *plugin.Plugin, _ int) {
			if _, err := p.Quota(tb.Context()); err != nil {
				tb.Fatal(err)
			}
		}},
		{"report", linear, 5, func(tb testing.TB, p *plugin.Plugin, _ int) {
			if _, err := p.Report(tb.Context(), "", time.Time{}); err != nil {
				tb.Fatal(err)
			}
		}},
		{"check", linear, 3, func(tb testing.TB, p *plugin.Plugin, _ int) {
			if _, err := p.Check(tb.Context(), plugin.CheckOptions{}); err != nil {
				tb.Fatal(err)
			}
		}},
	}
}

// measureAt opens a plugin with n entries, n times ten requests at most, and takes the times.
func measureAt(tb testing.TB, n, requests int) measures {
	tb.Helper()
	place := newPlace(tb, n, min(requests, 100*n), independent)
	m := measures{n: n, times: make([]time.Duration, 0, 16)}
	before := inUse()
	began := worked()
	p := place.open(tb, n)
	m.times = append(m.times, worked()-began)
	m.perEntry = (inUse() - before) / int64(n)
	for _, what := range measured(n) {
		clock := worked
		if what.name == hit {
			clock = sinceStart
		}
		took := make([]time.Duration, what.times)
		for i := range took {
			began := clock()
			what.do(tb, p, i)
			took[i] = clock() - began
		}
		slices.Sort(took)
		m.times = append(m.times, took[len(took)/2])
	}
	return m
}

// worked is how long the processors have worked for this process.
func worked() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

var started = time.Now()

func sinceStart() time.Duration { return time.Since(started) }

// inUse is how many bytes of memory are in use.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// table writes times side by side, how they grew from the first to the last, and by which power of the
// number of entries they grew over the last step, where costs that do not depend on it count least.
func table(all []measures) string {
	names := []string{"start"}
	for _, m := range measured(1) {
		names = append(names, m.name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-38s", "entries")
	for _, m := range all {
		fmt.Fprintf(&b, "%12d", m.n)
	}
	fmt.Fprintf(&b, "%10s%10s\n", "ratio", "exponent")
	for i, name := range names {
		fmt.Fprintf(&b, "%-38s", name)
		for _, m := range all {
			fmt.Fprintf(&b, "%12s", m.times[i].Round(time.Microsecond))
		}
		first, last := all[0].times[i], all[len(all)-1].times[i]
		fmt.Fprintf(&b, "%10.2f%10.2f\n", float64(last)/float64(first), exponent(all, i))
	}
	fmt.Fprintf(&b, "%-38s", "bytes of memory an entry")
	for _, m := range all {
		fmt.Fprintf(&b, "%12d", m.perEntry)
	}
	return b.String() + "\n"
}

// exponent is by which power of the entries a time grew over the last step.
func exponent(all []measures, i int) float64 {
	if len(all) < 2 {
		return 0
	}
	a, b := all[len(all)-2], all[len(all)-1]
	return math.Log(float64(b.times[i])/float64(a.times[i])) / math.Log(float64(b.n)/float64(a.n))
}

// TestTable measures up to ENTRIES entries and REQUESTS requests, and prints the table. Where many
// entries were tried, a time that grows more than it may is an error.
func TestTable(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: measuring is left out")
	}
	most, requests := number(t, "ENTRIES", 1000), number(t, "REQUESTS", 100_000)
	var all []measures
	for _, n := range []int{10, 1000, 10_000, 100_000} {
		if n <= most {
			all = append(all, measureAt(t, n, requests))
		}
	}
	t.Logf("with %d requests\n%s", requests, table(all))
	if most < 100_000 {
		return
	}
	rows := append([]measure{{name: "start", grows: linear}}, measured(1)...)
	for i, row := range rows {
		if e := exponent(all, i); e > float64(row.grows) {
			t.Errorf("%s grows with the entries to the power of %.2f, want %.1f at most", row.name, e, row.grows)
		}
	}
}

func number(tb testing.TB, name string, otherwise int) int {
	tb.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return n
}
