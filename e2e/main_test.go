// Package e2e proves what a user is promised, on the real program: it starts real daemons, calls the
// real command line over their sockets, and looks at the real files, on XFS, btrfs and ext4.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
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

// filesystem mounts an empty one for the test, on a loop device.
func filesystem(tb testing.TB, kind string) string {
	tb.Helper()
	needDaemon(tb)
	return fstest.Mount(tb, fstest.Kind(kind), 2*gib)
}

// cloning starts a daemon whose backend and file cache lie on one XFS.
func cloning(tb testing.TB, c harness.Config) *harness.Daemon {
	tb.Helper()
	return on(tb, "xfs", c)
}

// on starts a daemon whose backend and file cache lie on one filesystem of this kind.
func on(tb testing.TB, kind string, c harness.Config) *harness.Daemon {
	tb.Helper()
	dir := filesystem(tb, kind)
	c.Volumes, c.Cache = filepath.Join(dir, "volumes"), filepath.Join(dir, "cache")
	return harness.Start(tb, c)
}

// addImage puts a small raw image into the library and returns its reference and its disk.
func addImage(tb testing.TB, d *harness.Daemon, n int) (ref, disk string) {
	tb.Helper()
	name := fmt.Sprintf("image-%d.raw", n)
	disk = filepath.Join(d.Config.Images, name)
	harness.SmallDisk(tb, disk, uint64(n), imageSize, imageSize)
	return "library:" + name, disk
}

// imageSize is a small image's: bytes, all of them data.
const imageSize = 4 * mib
