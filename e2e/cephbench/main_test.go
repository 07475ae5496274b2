//go:build ceph

// Package cephbench measures what clonecache promises of its speed on a Ceph cluster, each figure as a
// ratio to the bare calls of librbd, or to the tools that do the same by hand, in the same run: medians
// of alternating rounds. `make bench BACKEND=rbd` makes a cluster of one node with Ceph's own timing for
// it, runs it and prints one table; CLONECACHE_CEPH_DIR names the directory of one that runs already
// (see e2e/ceph/cluster.sh).
//
// Every benchmark works in RBD namespaces of its own and removes them, with all that is in them.
package cephbench

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
)

const (
	mib = harness.MiB
	gib = harness.GiB

	rounds = 5
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	defer harness.RemoveShared()
	code := m.Run()
	printTable()
	return code
}

// row is one line of the table.
type row struct {
	what   string
	detail string // both figures
	got    float64
	goal   string
	kept   bool
}

var table []row // printed by TestMain; benchmarks run one after another

func printTable() {
	if len(table) == 0 {
		return
	}
	fmt.Printf("\n%s\nmedians of %d alternating rounds\n\n", clusterSettings(), rounds)
	fmt.Printf("%-62s %8s  %-8s %-4s %s\n", "", "got", "goal", "", "figures")
	for _, r := range table {
		fmt.Println(r)
	}
}

// String is the row as the table shows it.
func (r row) String() string {
	verdict := "ok"
	if !r.kept {
		verdict = "MISS"
	}
	return fmt.Sprintf("%-62s %8.2f  %-8s %-4s %s", r.what, r.got, r.goal, verdict, r.detail)
}

// atMost notes a figure that may not be larger than its goal; atLeast one that may not be smaller.
func atMost(b *testing.B, what string, got, goal float64, detail string) {
	note(b, row{what, detail, got, fmt.Sprintf("<= %.2f", goal), got <= goal})
}

func atLeast(b *testing.B, what string, got, goal float64, detail string) {
	note(b, row{what, detail, got, fmt.Sprintf(">= %.2f", goal), got >= goal})
}

// note also says the figure at once, to those who wait for the table.
func note(b *testing.B, r row) {
	table = append(table, r)
	fmt.Fprintln(os.Stderr, r)
	b.ReportMetric(r.got, "figure")
}

// contestant does its job once and tells how long the job took, without what it prepares and removes.
type contestant func(round int) time.Duration

// alternate lets all take turns, each going first in its turn, and returns the times of each, round by
// round. The first round warms up and does not count.
func alternate(contestants ...contestant) [][]time.Duration {
	times := make([][]time.Duration, len(contestants))
	for round := range rounds + 1 {
		for turn := range contestants {
			i := (turn + round) % len(contestants)
			took := contestants[i](round)
			if round > 0 {
				times[i] = append(times[i], took)
			}
		}
	}
	return times
}

func median[T time.Duration | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratio is the median of a's times over b's of the same round.
func ratio(a, b []time.Duration) float64 {
	each := make([]float64, len(a))
	for i := range a {
		each[i] = float64(a[i]) / float64(b[i])
	}
	return median(each)
}

// timed is how long do takes.
func timed(do func()) time.Duration {
	begun := time.Now()
	do()
	return time.Since(begun)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
