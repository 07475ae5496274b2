// Package faults breaks what clonecache stands on: filesystems without space or suddenly read-only, image
// sources that fail, stall, lie and change, a clock that steps back, a process without file descriptors.
// Each time the answer must say what is wrong, nothing may be left over, and once the fault is gone the
// same request must succeed.
package faults

import (
	"os"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	kib = 1 << 10
	mib = harness.MiB
)

// needMounts skips where only quick tests are wanted.
func needMounts(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("-short: tests that mount filesystems are left out")
	}
}
