//go:build openstack

package openstack

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hold lets the clones that the held driver makes wait until release. reached waits for the first one.
func (l theLab) hold(t *testing.T) (reached, release func()) {
	t.Helper()
	file := filepath.Join(l.dir, "cinder", "hold-clones")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	release = func() {
		if err := errors.Join(os.RemoveAll(file), os.RemoveAll(file+".reached")); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(release)
	return func() {
		within(t, "the driver clones", func() bool {
			_, err := os.Stat(file + ".reached")
			return !errors.Is(err, fs.ErrNotExist)
		})
	}, release
}

// A cinder-volume that is killed while its driver clones says nothing any more: the loan ends by itself. What was half made is
// an ordinary volume in error, and goes as one; then the image-volume can be evicted again.
func checkKilledWhileCloning(t *testing.T, w *world, backend string) {
	d := newDisk(t, 76, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", community)
	w.demo.make(t, wanted{Image: image, Type: backend})
	reached, release := lab.hold(t)
	half := w.demo.create(t, wanted{Image: image, Type: backend})
	reached()
	loans := func() int {
		all, err := w.daemon.Client(t).Loans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	within(t, "there is a loan of the volume, and what is kept of the one before", func() bool { return loans() == 2 })
	lab.do(t, "kill", "cinder-volume")
	within(t, "the loan ends by itself", func() bool { return loans() == 0 })
	release()
	if !strings.Contains(rbd(t, "ls", pools[backend]), half) {
		t.Error("nothing of the half clone is there; was it made elsewhere?")
	}
	lab.do(t, "start", "cinder-volume")
	if v := w.demo.settled(t, half); v.Status != "error" {
		t.Errorf("the volume that was half made: status %s, want error", v.Status)
	}
	w.demo.delete(t, half)
	if left := rbd(t, "ls", pools[backend]); strings.Contains(left, half) {
		t.Errorf("left over: %s", left)
	}
	wantContent(t, d, w.demo.make(t, wanted{Image: image, Type: backend}))
	if r := w.daemon.CLI(t, "entry", "delete", "--all", "--force"); r.Exit != 0 || loans() != 0 {
		t.Errorf("entry delete --all: exit %d, %d loans\n%s%s", r.Exit, loans(), r.Stdout, r.Stderr)
	}
}
