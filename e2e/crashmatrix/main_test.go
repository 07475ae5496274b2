// Package crashmatrix kills the real daemon after every step that there is (failpoint.All), restarts it,
// and compares all that lies on disk, the quota, the report and every volume with a run that was not
// killed.
package crashmatrix

import (
	"fmt"
	"os"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

func TestMain(m *testing.M) {
	code, err := inMemory(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// inMemory runs the tests with their temporary files in memory if it can: a killed process loses
// nothing there either, and hundreds of daemons do not wait for the machine's disk. The program itself
// stays where programs may be run.
func inMemory(m *testing.M) (code int, err error) {
	if _, err := harness.SharedDir(); err != nil {
		return 0, err
	}
	defer harness.RemoveShared()
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil || os.Getenv("TMPDIR") != "" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp(memory, "cm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

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
