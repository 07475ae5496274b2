package powerloss_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends/rawfile"
	"github.com/clonecache/clonecache/e2e/powerloss"
)

// Where metadata is taken to be ordered, a clone that was linked and not synced yet, when the sync of
// something else overtakes it, is there whole or not at all. (btrfs leaves an empty file there.)
func TestOrderedMetadataKeepsAnOvertakenClone(t *testing.T) {
	for kind, size := range disks {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			d := powerloss.Record(t, kind, size)
			features, err := rawfile.Probe(d.Dir)
			must(t, err)
			if !features.OrderedMetadata {
				return // nothing is built on it
			}
			content := bytes.Repeat([]byte("content "), 100_000)
			overtaken(t, d, content)
			r := d.End(t)
			replay := r.Replay(t)
			for n := range r.Spans() {
				dir, err := replay.Boot(r.Harshest(n))
				must(t, err)
				got, err := os.ReadFile(filepath.Join(dir, "clone"))
				if err == nil && (len(got) != 2*mib || !bytes.HasPrefix(got, content)) {
					t.Errorf("%s: the clone has %d bytes, want all %d or none", r.Harshest(n), len(got), 2*mib)
				}
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				must(t, replay.Halt())
			}
		})
	}
}

// overtaken links a clone of durable content, and syncs the directory in its stead.
func overtaken(t *testing.T, d *powerloss.Disk, content []byte) {
	t.Helper()
	source, err := os.Create(filepath.Join(d.Dir, "source"))
	must(t, err)
	defer source.Close()
	_, err = source.Write(content)
	must(t, errors.Join(err, source.Sync()))
	fd, err := unix.Open(d.Dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	must(t, err)
	clone := os.NewFile(uintptr(fd), "clone")
	defer clone.Close()
	must(t, rawfile.Reflink(clone, source))
	must(t, clone.Truncate(2*mib))
	must(t, unix.Linkat(fd, "", unix.AT_FDCWD, filepath.Join(d.Dir, "clone"), unix.AT_EMPTY_PATH))
	dir, err := os.Open(d.Dir)
	must(t, err)
	defer dir.Close()
	must(t, dir.Sync())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
