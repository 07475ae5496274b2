// Package crashmatrix kills the real daemon after every step that there is (failpoint.All), restarts it,
// and compares all that lies on disk, the quota, the report and every volume with a run that was not
// killed.
package crashmatrix

import (
	"os"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	mib = harness.MiB
	gib = harness.GiB
)

// needDaemon skips where only quick tests are wanted.
func needDaemon(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("-short: tests that run the daemon are left out")
	}
}
