package harness

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// memory is a filesystem that needs no disk, and roomInMemory is what it must have left.
const (
	memory       = "/dev/shm"
	roomInMemory = 4 * GiB
)

// Main runs a package's tests and returns the exit code for its TestMain. Where there is room in memory,
// temporary files lie there: a killed process loses nothing there either, and hundreds of daemons do
// not wait for the machine's disk. TMPDIR, where it is set, goes before.
func Main(m *testing.M) int {
	if _, err := SharedDir(); err != nil { // stays where programs may be run
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer RemoveShared()
	var room unix.Statfs_t
	if os.Getenv("TMPDIR") != "" || unix.Statfs(memory, &room) != nil || int64(room.Bavail)*room.Bsize < roomInMemory {
		return m.Run()
	}
	dir, err := os.MkdirTemp(memory, "clonecache-e2e-")
	if err != nil {
		return m.Run()
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("TMPDIR", dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.Unsetenv("TMPDIR") // what ends after the tests needs another place
	return m.Run()
}
