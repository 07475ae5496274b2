// Package fstest gives tests real filesystems: sparse files that are formatted and loop-mounted. The
// files lie in memory (/dev/shm) if they can, so that tests do not wait for the machine's disk, or in
// the temporary directory if TMPDIR names one. It needs root, the mkfs of the filesystem, and mount; where one is
// missing it skips the test and says which. It is imported by tests only.
package fstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Kind is a kind of filesystem.
type Kind string

// Filesystems that are known here. XFS and btrfs have reflinks, ext4 has none.
const (
	XFS   Kind = "xfs"
	Btrfs Kind = "btrfs"
	Ext4  Kind = "ext4"
)

// Sizes in bytes below which mkfs refuses.
const (
	MinXFS   = 300 << 20
	MinBtrfs = 128 << 20
	MinExt4  = 4 << 20
)

var mkfs = map[Kind][]string{
	XFS:   {"mkfs.xfs", "-q", "-m", "reflink=1"},
	Btrfs: {"mkfs.btrfs", "-q"},
	Ext4:  {"mkfs.ext4", "-q", "-F"},
}

// Filesystem is one that is mounted until the test ends.
type Filesystem struct {
	Dir  string // where it is mounted
	disk string // the file below it
	kind Kind
}

// Mount makes and mounts a filesystem of sizeBytes until the test ends, and returns its directory.
func Mount(tb testing.TB, kind Kind, sizeBytes int64) string {
	tb.Helper()
	return New(tb, kind, sizeBytes).Dir
}

// New makes and mounts a filesystem of sizeBytes until the test ends.
func New(tb testing.TB, kind Kind, sizeBytes int64) *Filesystem {
	tb.Helper()
	require(tb, kind)
	base := scratch(tb)
	fs := &Filesystem{Dir: filepath.Join(base, string(kind)), disk: filepath.Join(base, "disk"), kind: kind}
	check(tb, os.Mkdir(fs.Dir, 0o755))
	check(tb, os.WriteFile(fs.disk, nil, 0o600))
	check(tb, os.Truncate(fs.disk, sizeBytes))
	command := mkfs[kind]
	run(tb, command[0], append(command[1:], fs.disk)...)
	fs.mount(tb)
	return fs
}

// scratch makes a directory for disks until the test ends.
func scratch(tb testing.TB) string {
	tb.Helper()
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil || os.Getenv("TMPDIR") != "" {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "fstest-")
	check(tb, err)
	tb.Cleanup(func() { check(tb, os.RemoveAll(dir)) })
	return dir
}

// require skips a test for which something is missing here.
func require(tb testing.TB, kind Kind) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skipf("mounting %s needs root", kind)
	}
	for _, tool := range []string{mkfs[kind][0], "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			tb.Skipf("%s is not installed", tool)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		tb.Skipf("there are no loop devices here: %v", err)
	}
	known, err := os.ReadFile("/proc/filesystems")
	check(tb, err)
	if !strings.Contains(string(known), "\t"+string(kind)+"\n") {
		if exec.Command("modprobe", string(kind)).Run() != nil {
			tb.Skipf("the kernel has no %s", kind)
		}
	}
}

// mount mounts the disk; the loop device goes with the mount.
func (fs *Filesystem) mount(tb testing.TB) {
	tb.Helper()
	run(tb, "mount", "-o", "loop", "-t", string(fs.kind), fs.disk, fs.Dir)
	tb.Cleanup(func() { fs.unmount(tb) })
}

// unmount unmounts it if it is mounted, if need be as soon as nobody uses it any more.
func (fs *Filesystem) unmount(tb testing.TB) {
	if exec.Command("mountpoint", "-q", fs.Dir).Run() != nil {
		return
	}
	if exec.Command("umount", fs.Dir).Run() == nil {
		return
	}
	if out, err := exec.Command("umount", "-l", fs.Dir).CombinedOutput(); err != nil {
		tb.Errorf("unmount %s: %v: %s", fs.Dir, err, out)
	}
}

// Remount changes the mount's options, as "ro" does.
func (fs *Filesystem) Remount(tb testing.TB, options string) {
	tb.Helper()
	run(tb, "mount", "-o", "remount,"+options, fs.Dir)
}

// Disk is what a disk held at one moment.
type Disk struct{ path string }

// Disk copies what the filesystem has brought to its disk up to now: what the disk would hold if the
// power failed at this moment. What is only in memory is not in it.
func (fs *Filesystem) Disk(tb testing.TB) Disk {
	tb.Helper()
	path := filepath.Join(scratch(tb), "disk")
	run(tb, "cp", "--sparse=always", "--reflink=never", fs.disk, path)
	return Disk{path}
}

// Sync brings to disk what was written to the filesystem of a directory. It waits for no other one.
func Sync(tb testing.TB, dir string) {
	tb.Helper()
	f, err := os.Open(dir)
	check(tb, err)
	defer f.Close()
	check(tb, unix.Syncfs(int(f.Fd())))
}

// Boot unmounts the filesystem, which nobody may use any more, and mounts what the disk held instead.
func (fs *Filesystem) Boot(tb testing.TB, disk Disk) {
	tb.Helper()
	run(tb, "umount", fs.Dir)
	fs.disk = disk.path
	fs.mount(tb)
}

func run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
