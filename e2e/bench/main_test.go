// Package bench measures what clonecache promises of its speed, each figure as a ratio to the bare floor
// on the same filesystem in the same run: medians of alternating rounds. `make bench` runs it and prints
// one table. It is slow (minutes) and needs root, for a loop-mounted XFS.
//
// The files lie in memory (/dev/shm) where it has room, so that the program is measured and not the
// machine's disk; TMPDIR, where it is set, goes before.
package bench

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
)

const (
	mib = harness.MiB
	gib = harness.GiB

	rounds       = 5
	roomInMemory = 10 * gib
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	defer harness.RemoveShared()
	where := "TMPDIR or /tmp"
	if dir, err := inMemory(); err == nil {
		defer os.RemoveAll(dir)
		where = "memory (/dev/shm)"
	}
	code := m.Run()
	printTable(where)
	return code
}

// inMemory puts temporary files into memory, if they have room there.
func inMemory() (string, error) {
	var room unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &room); err != nil {
		return "", err
	}
	if os.Getenv("TMPDIR") != "" || int64(room.Bavail)*room.Bsize < roomInMemory {
		return "", os.ErrExist
	}
	dir, err := os.MkdirTemp("/dev/shm", "clonecache-bench-")
	if err != nil {
		return "", err
	}
	return dir, os.Setenv("TMPDIR", dir)
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

func printTable(where string) {
	if len(table) == 0 {
		return
	}
	fmt.Printf("\nXFS on a loop device, in %s; medians of %d alternating rounds\n\n", where, rounds)
	fmt.Printf("%-44s %8s  %-8s %-4s %s\n", "", "got", "goal", "", "figures")
	for _, r := range table {
		verdict := "ok"
		if !r.kept {
			verdict = "MISS"
		}
		fmt.Printf("%-44s %8.2f  %-8s %-4s %s\n", r.what, r.got, r.goal, verdict, r.detail)
	}
}

// atMost notes a figure that may not be larger than its goal; atLeast one that may not be smaller.
func atMost(b *testing.B, what string, got, goal float64, detail string) {
	table = append(table, row{what, detail, got, fmt.Sprintf("<= %.2f", goal), got <= goal})
	b.ReportMetric(got, "figure")
}

func atLeast(b *testing.B, what string, got, goal float64, detail string) {
	table = append(table, row{what, detail, got, fmt.Sprintf(">= %.2f", goal), got >= goal})
	b.ReportMetric(got, "figure")
}

// contestant does its job once and tells how long the job took, without what it prepares and removes.
type contestant func(round int) time.Duration

// alternate lets all take turns and returns the median of each. The first turns warm up and do not count.
func alternate(contestants ...contestant) []time.Duration {
	times := make([][]time.Duration, len(contestants))
	for round := range rounds + 1 {
		for i, run := range contestants {
			took := run(round)
			if round > 0 {
				times[i] = append(times[i], took)
			}
		}
	}
	medians := make([]time.Duration, len(contestants))
	for i, t := range times {
		medians[i] = median(t)
	}
	return medians
}

func median(t []time.Duration) time.Duration {
	t = slices.Sorted(slices.Values(t))
	return t[len(t)/2]
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// mount mounts an empty XFS for the benchmark.
func mount(b *testing.B, size int64) string {
	b.Helper()
	return fstest.Mount(b, fstest.XFS, size)
}

// timed is how long do takes.
func timed(do func()) time.Duration {
	begun := time.Now()
	do()
	return time.Since(begun)
}
