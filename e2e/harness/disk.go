package harness

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/plugin"
)

// File is one regular file on disk.
type File struct {
	Path  string
	Size  int64 // its length in bytes
	Bytes int64 // what it occupies
}

// Files lists the regular files below dir.
func Files(tb testing.TB, dir string) []File {
	tb.Helper()
	var files []File
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files = append(files, File{path, info.Size(), info.Sys().(*syscall.Stat_t).Blocks * 512})
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// Allocated is how many bytes of the filesystem below dir are in use, unlinked files that are still
// open included.
func Allocated(tb testing.TB, dir string) int64 {
	tb.Helper()
	fd, err := os.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer fd.Close()
	unix.Syncfs(int(fd.Fd())) // delayed allocations count only once they are made
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(fd.Fd()), &st); err != nil {
		tb.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

// What a store bears of its own: which it is, and whose.
var storeFiles = []string{".clonecache/store-id", ".clonecache/holder"}

// Leftovers are the files of backend, file cache and scratch space that belong to no volume and to no
// entry which the daemon knows, as the test finds them on disk itself.
func (d *Daemon) Leftovers(tb testing.TB) []string {
	tb.Helper()
	var known []string
	for _, name := range storeFiles {
		known = append(known, filepath.Join(d.Config.Volumes, name), filepath.Join(d.Config.Cache, name))
	}
	for _, v := range d.Volumes(tb) {
		known = append(known, v.Path)
	}
	var names []string
	for _, e := range d.Entries(tb) {
		names = append(names, e.ImageVolume)
	}
	var left []string
	for _, dir := range []string{d.Config.Volumes, d.Config.Cache, filepath.Join(d.State, "scratch")} {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			continue
		}
		for _, f := range Files(tb, dir) {
			of := func(name string) bool { return strings.Contains(f.Path, name) }
			if f.Size > 0 && !slices.Contains(known, f.Path) && !slices.ContainsFunc(names, of) {
				left = append(left, f.Path)
			}
		}
	}
	return left
}

// Consistent checks what must hold whenever the daemon is idle: nothing is left over on disk, every
// entry is ready and has its one file, the quota is what exists, and check agrees.
func (d *Daemon) Consistent(tb testing.TB) {
	tb.Helper()
	if left := d.Leftovers(tb); len(left) > 0 {
		tb.Errorf("left over on disk: %q", left)
	}
	var onBackend, gigabytes int64
	for _, e := range d.Entries(tb) {
		if e.State != "ready" {
			tb.Errorf("entry %s is %s", e.ID, e.State)
		}
		if e.Backend == "local" {
			onBackend++
			gigabytes += (e.VirtualBytes + GiB - 1) / GiB
		}
	}
	q := d.Quota(tb)
	if v := q.Volumes; v.InUse != onBackend || v.Reserved != 0 || v.Actual != onBackend {
		tb.Errorf("quota of volumes: got in use %d, reserved %d, actual %d; want %d, 0, %d", v.InUse, v.Reserved, v.Actual, onBackend, onBackend)
	}
	if g := q.Gigabytes; g.InUse != gigabytes || g.Reserved != 0 || g.Actual != gigabytes {
		tb.Errorf("quota of gigabytes: got in use %d, reserved %d, actual %d; want %d, 0, %d", g.InUse, g.Reserved, g.Actual, gigabytes, gigabytes)
	}
	if wrong := Wrong(d.Check(tb)); len(wrong) > 0 {
		tb.Errorf("check found problems: %+v", wrong)
	}
}

// Wrong are the problems of a check beside volumes that were kept: of these check tells until the request for one
// is repeated, which after a kill is as it should be.
func Wrong(c plugin.CheckResult) []plugin.Problem {
	return slices.DeleteFunc(slices.Clone(c.Problems), func(p plugin.Problem) bool { return p.Repaired || p.Kind == "kept-volume" })
}

// NothingKept checks that each request that a kill left unanswered was repeated.
func (d *Daemon) NothingKept(tb testing.TB) {
	tb.Helper()
	if c := d.Check(tb); !c.OK {
		tb.Errorf("check found problems: %+v", c.Problems)
	}
}
