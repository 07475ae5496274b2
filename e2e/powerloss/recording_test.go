package powerloss_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/powerloss"
)

func TestMain(m *testing.M) { powerloss.Main(m) }

const mib = 1 << 20

// disks are the filesystems that are recorded, with their sizes in bytes.
var disks = map[fstest.Kind]int64{fstest.XFS: 320 * mib, fstest.Btrfs: 256 * mib, fstest.Ext4: 192 * mib}

// What was synced is there at every moment after it, whole, and what was not is lost where nothing else
// brought it to the disk: else the recorder would prove nothing.
func TestOnlyWhatWasSyncedSurvives(t *testing.T) {
	for kind, size := range disks {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			d := powerloss.Record(t, kind, size)
			content := bytes.Repeat([]byte("content "), 10_000)
			put(t, d, "synced", content, (*os.File).Sync)
			put(t, d, "lazy", content, func(*os.File) error { return nil })
			r := d.End(t)
			replay := r.Replay(t)
			sawLazyLost, sawSynced := false, false
			for n := range r.Spans() {
				c := r.Harshest(n)
				marks := r.Marks(c)
				dir, err := replay.Boot(c)
				if err != nil {
					t.Fatalf("%s: %v", c, err)
				}
				synced, _ := os.ReadFile(filepath.Join(dir, "synced"))
				lazy, _ := os.ReadFile(filepath.Join(dir, "lazy"))
				if len(marks) > 0 {
					sawSynced = true
					if !bytes.Equal(synced, content) {
						t.Errorf("%s: what was synced is lost: %d bytes of %d", c, len(synced), len(content))
					}
				}
				sawLazyLost = sawLazyLost || len(marks) > 1 && !bytes.Equal(lazy, content)
				if err := replay.Halt(); err != nil {
					t.Fatal(err)
				}
			}
			if !sawSynced || !sawLazyLost {
				t.Errorf("moments after the sync: %t; moments at which the other file was lost: %t; want both", sawSynced, sawLazyLost)
			}
		})
	}
}

// put writes a file, syncs it or not, and marks that it did.
func put(t *testing.T, d *powerloss.Disk, name string, content []byte, sync func(*os.File) error) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.Write(content)
	for _, e := range []error{err, sync(f), d.Mark([]byte(name))} {
		if e != nil {
			t.Fatal(e)
		}
	}
}
