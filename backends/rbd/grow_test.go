//go:build ceph

package rbd

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// A clone that was grown is one that librbd would have grown: it has its size, the object map
// that librbd would have made, and its new end takes writes.
func TestAGrownCloneIsWhole(t *testing.T) {
	const image = 10 << 20 // not a multiple of RBD's objects
	for _, features := range [][]string{nil, {"layering"}, {"layering", "exclusive-lock"}, {"layering", "exclusive-lock", "object-map", "fast-diff", "journaling"}} {
		t.Run(fmt.Sprint(features), func(t *testing.T) {
			c := config(t)
			c.Features = features
			b := openBackend(t, c)
			commitImage(t, b, "e-1", image)
			for _, size := range []int64{image + backends.SizeUnit, 12 << 20, 13 << 20, 3 << 30} {
				spec := specOf(fmt.Sprintf("v-%d", size), "token")
				spec.SizeBytes = size
				made, err := b.Clone(t.Context(), "e-1", spec)
				if err != nil || made.SizeBytes != size {
					t.Fatalf("clone of %d bytes: got %+v, %v", size, made, err)
				}
				stat, err := b.StatVolume(t.Context(), spec.Name)
				if err != nil || stat.SizeBytes != size || !stat.Complete {
					t.Errorf("volume: got %+v, %v, want %d complete bytes", stat, err, size)
				}
				b.sameAsResized(t, string(spec.Name), image, size)
				b.writeEnd(string(spec.Name), size)
				b.checkMap(string(spec.Name), features)
			}
		})
	}
}

// sameAsResized compares a grown clone's object map with that of a clone which librbd has resized. Later
// is too late: librbd mends a map that is too small when it takes the lock.
func (b *tested) sameAsResized(t *testing.T, name string, image, size int64) {
	t.Helper()
	spec := specOf("resized-"+name, "token")
	spec.SizeBytes = image
	if _, err := b.Clone(t.Context(), "e-1", spec); err != nil {
		t.Fatal(err)
	}
	io := b.strangers()
	resized, err := rbd.OpenImage(io, string(spec.Name), rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(resized.Resize(uint64(size)), resized.Close()); err != nil {
		t.Fatal(err)
	}
	if got, want := mapOf(t, io, name), mapOf(t, io, string(spec.Name)); !bytes.Equal(got, want) {
		t.Errorf("object map of %s: got %d bytes %.64x, librbd makes %d bytes %.64x", name, len(got), got, len(want), want)
	}
}

// mapOf is the object map of an image, nil where it has none.
func mapOf(t *testing.T, io *rados.IOContext, name string) []byte {
	t.Helper()
	id, err := idOf(io, name)
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 1<<20)
	n, err := io.Read(objectMap+id, content, 0)
	if err := ignore(err, syscall.ENOENT); err != nil {
		t.Fatal(err)
	}
	return content[:max(n, 0)]
}

// writeEnd writes the last bytes of a volume as its user does, and reads them again.
func (b *tested) writeEnd(name string, size int64) {
	b.tb.Helper()
	image, err := rbd.OpenImage(b.strangers(), name, rbd.NoSnapshot)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer image.Close()
	want, got := []byte("the end"), make([]byte, 7)
	_, writeErr := image.WriteAt(want, size-7)
	_, readErr := image.ReadAt(got, size-7)
	if err := errors.Join(writeErr, readErr); err != nil || !bytes.Equal(got, want) {
		b.tb.Errorf("end of %s: got %q, %v, want %q", name, got, err, want)
	}
}

// checkMap lets Ceph's own tool compare a volume's object map with its objects.
func (b *tested) checkMap(name string, features []string) {
	b.tb.Helper()
	of := fmt.Sprintf("%s/%s/%s", b.config.Pool, b.config.Namespace, name)
	call := func(words ...string) string {
		args := append([]string{"--conf", filepath.Join(cluster.dir, "ceph.conf"), "--id", "admin"}, words...)
		cmd := exec.Command("rbd", args...)
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			b.tb.Errorf("rbd %q: %v\n%s%s", words, err, out, &said)
		}
		return string(out)
	}
	if features == nil || strings.Contains(strings.Join(features, " "), "object-map") {
		call("object-map", "check", "--no-progress", of) // a map that is wrong it flags as invalid
	}
	if out := call("info", of); strings.Contains(out, "invalid") {
		b.tb.Errorf("flags of %s: %s", name, out)
	}
}
