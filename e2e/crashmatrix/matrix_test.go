package crashmatrix

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// TestKilledAfterEachStep is the crash matrix. A daemon on an empty directory plays the script and kills
// itself after a step. It is started again, and what it says and has on disk at once is right; then the
// script goes on with the act that got no answer, and in the end all is as in a run without a kill.
func TestKilledAfterEachStep(t *testing.T) {
	library := makeImages(t)
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) { newMatrix(t, l, library).Run(t) })
	}
}

// newMatrix is the crash matrix of one layout, on a filesystem that it mounts.
func newMatrix(t *testing.T, l layout, library string) *harness.KillMatrix {
	t.Helper()
	mount := l.mount(t)
	return &harness.KillMatrix{Times: l.times, Unreached: l.unreached, Order: harness.AtOnce, New: func(t *testing.T, name string) *harness.Player {
		t.Helper()
		dir := filepath.Join(mount, name)
		t.Cleanup(func() { os.RemoveAll(dir) })
		c := l.in(dir)
		c.Images = library
		return newPlayer(t, c)
	}}
}
