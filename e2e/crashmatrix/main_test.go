// Package crashmatrix kills the real daemon after every step that there is (failpoint.Made, and Lent), restarts it,
// and compares all that lies on disk, the quota, the report and every volume with a run that was not
// killed.
package crashmatrix

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

const (
	mib = harness.MiB
	gib = harness.GiB

	// atOnce is how many daemons are killed beside one another: they start and end, and wait for syncs
	// and for one another's processes, far more than they compute.
	atOnce = 6
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
			panic(err)
		}
	}
	os.Exit(harness.Main(m))
}

// needDaemon skips where only quick tests are wanted.
func needDaemon(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("-short: tests that run the daemon are left out")
	}
}
