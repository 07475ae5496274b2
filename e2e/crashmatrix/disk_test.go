package crashmatrix

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// ids are what differs between two runs that did the same: entries' IDs with their attempts, the numbers of
// the journal's files, and where stores lie, by which their records are named.
var ids = regexp.MustCompile(`cc-[0-9a-f-]{36}-[0-9]+|[0-9]+\.journal|%2F\S+%2F`)

// tree is everything that a daemon, which has ended, has on disk, one line each in order: path, length
// and occupied bytes, or a link's target. Of the state directory only the names count, since the
// database and the journal grow with what happened.
func tree(tb testing.TB, d *harness.Daemon) []string {
	tb.Helper()
	lines := append(list(tb, d.Config.Volumes, lengths), list(tb, d.Config.Cache, lengths)...)
	return append(lines, list(tb, d.State, names)...)
}

type detail int

const (
	names detail = iota + 1
	lengths
)

func list(tb testing.TB, root string, how detail) []string {
	tb.Helper()
	var lines []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line, err := describe(path, e, how)
		name, _ := filepath.Rel(filepath.Dir(root), path)
		lines = append(lines, ids.ReplaceAllString(name+line, "*"))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(lines)
	return slices.Compact(lines) // of several journals, or equal image-volumes' links, one says it
}

func describe(path string, e fs.DirEntry, how detail) (string, error) {
	switch {
	case e.IsDir():
		return "/", nil
	case e.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return " -> " + target, err
	case how == names, e.Name() == "holder": // it says when the store was taken, in more or fewer digits
		return "", nil
	}
	info, err := e.Info()
	if err != nil {
		return "", err
	}
	blocks := info.Sys().(*syscall.Stat_t).Blocks
	return fmt.Sprintf(" (%d bytes, %d on disk)", info.Size(), blocks*512), nil
}
