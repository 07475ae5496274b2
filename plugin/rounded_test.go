package plugin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
)

// Whatever size is asked for, or an image has, its volumes can be used whole by whoever has sectors of 4096
// bytes; their content stays the image's, and the answer says what was done.
func TestSizesAreRoundedUp(t *testing.T) {
	content := random(1_000_001)
	for _, kind := range []fstest.Kind{fstest.XFS, fstest.Ext4} { // by clones, and by copies
		dir := fstest.Mount(t, kind, 512*mib)
		r := newRig(t, dir, lru.Bounds{}, elsewhere(t))
		raw := filepath.Join(dir, "images", "odd.raw")
		if err := os.WriteFile(raw, content, 0o600); err != nil {
			t.Fatal(err)
		}
		padded := filepath.Join(t.TempDir(), "padded.raw")
		if err := os.WriteFile(padded, append(content, make([]byte, 511)...), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", padded, filepath.Join(dir, "images", "odd.qcow2")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for i, c := range []struct {
			image       string
			asked, want int64
			rounded     bool
		}{
			{"odd.raw", 0, 1_003_520, true}, // filled, then hits
			{"odd.raw", 0, 1_003_520, true},
			{"odd.raw", 1_000_001, 1_003_520, true},
			{"odd.raw", 1_003_520, 1_003_520, false},
			{"odd.raw", 10_000_001, 10_002_432, true},
			{"odd.qcow2", 1_000_512, 1_003_520, true},
			{"odd.qcow2", 8 * mib, 8 * mib, false},
		} {
			name := fmt.Sprint("v", i)
			for _, again := range []bool{false, true} {
				a := r.create(t, "library:"+c.image, name, c.asked)
				if a.SizeBytes != c.want || a.Rounded != c.rounded && (!again || c.asked != 0) {
					t.Errorf("%s: %s at %d bytes (again: %t): got %+v, want %d, rounded %t", kind, c.image, c.asked, again, a, c.want, c.rounded)
				}
				if info, err := os.Stat(a.Path); err != nil || info.Size() != c.want {
					t.Errorf("%s: %s at %d bytes: the volume is %+v, %v", kind, c.image, c.asked, info, err)
				}
				r.holds(t, a, content)
			}
		}
		for _, e := range r.wantEntries(t, 2) {
			if e.VirtualBytes != 1_003_520 {
				t.Errorf("%s: entry of %s has %d bytes", kind, e.ImageIDs, e.VirtualBytes)
			}
		}
		checkClean(t, r)
	}
}
