package plugin_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// compressible is content that compresses well and has no zeroes to skip.
func compressible(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i/4096%7)
	}
	return b
}

// writeQCOW2 makes a compressed qcow2 image of content with qemu-img.
func writeQCOW2(t *testing.T, path string, content []byte) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is missing (Debian: qemu-utils)")
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, path).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
}

func digestOf(content []byte) imagesource.Digest {
	sum := sha256.Sum256(content)
	return imagesource.Digest{Algorithm: imagesource.SHA256, Hex: hex.EncodeToString(sum[:])}
}

func TestEqualContentSharesOneImageVolume(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	content := random(2 * mib)
	source.put("a", "1", content)
	source.put("b", "1", content)
	if a := r.create(t, "gated:a", "v1", 0); a.Outcome != plugin.Filled {
		t.Fatalf("a: got %+v, want filled", a)
	}
	b := r.create(t, "gated:b", "v2", 0)
	r.holds(t, b, content)
	if c := r.create(t, "gated:b", "v3", 0); c.Outcome != plugin.Hit {
		t.Errorf("b again: got %+v, want hit", c)
	}
	e := r.wantEntries(t, 1)[0]
	if len(e.ImageIDs) != 2 {
		t.Errorf("image IDs: got %v, want both", e.ImageIDs)
	}
	checkClean(t, r)
}

func TestChangedImageIsFilledAnewAndOldVolumesStay(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	before, after := random(2*mib), random(2*mib)
	source.put("disk", "1", before)
	old := r.create(t, "gated:disk", "v1", 0)
	source.put("disk", "2", after)
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Filled {
		t.Fatalf("changed: got %+v, want filled", a)
	} else {
		r.holds(t, a, after)
	}
	r.holds(t, old, before)
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1"}); !errors.Is(err, plugin.ErrConflict) {
		t.Errorf("v1 of the changed image: got %v, want ErrConflict", err)
	}
	checkClean(t, r)
}

func TestMetadataThatDoesNotChangeContentInvalidatesNothing(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	content := random(2 * mib)
	source.put("disk", "1", content)
	source.promise("disk", digestOf(content))
	r.create(t, "gated:disk", "v1", 0)
	source.put("disk", "2", content)
	source.promise("disk", digestOf(content))
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("got %+v, want hit", a)
	}
}

func TestRefusedImagesLeaveNothing(t *testing.T) {
	dir := fstest.Mount(t, fstest.XFS, 512*mib)
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, dir, lru.Bounds{}, withSource(source))
	content := random(2 * mib)
	source.put("good", "1", content)
	source.put("wrong-digest", "1", content)
	source.promise("wrong-digest", digestOf([]byte("other")))
	source.put("short", "1", content[:1*mib])
	source.claimSize("short", 2*mib)
	hostile := append([]byte("QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x0b"), make([]byte, 1*mib)...)
	source.put("backing", "1", hostile)
	source.put("empty", "1", nil)
	for _, c := range []struct {
		image string
		size  int64
		want  error
	}{
		{"gated:wrong-digest", 0, imagesource.ErrDigestMismatch},
		{"gated:short", 0, imagesource.ErrTruncated},
		{"gated:good", 1 * mib, plugin.ErrTooSmall},
		{"gated:backing", 0, diskimage.ErrRefused},
		{"gated:empty", 0, diskimage.ErrRefused},
		{"gated:absent", 0, imagesource.ErrNotFound},
	} {
		t.Run(c.image, func(t *testing.T) {
			a, err := r.CreateVolume(t.Context(), plugin.Request{Image: c.image, Volume: "v", SizeBytes: c.size})
			if !errors.Is(err, c.want) {
				t.Errorf("got %+v, %v, want %v", a, err, c.want)
			}
			r.noVolume(t, "v")
			r.wantHeld(t, 0)
			checkClean(t, r)
		})
	}
	if a := r.create(t, "gated:good", "v", 0); a.Outcome != plugin.Filled {
		t.Errorf("afterwards: got %+v, want filled", a)
	}
}

func TestAnImageFilledWithADigestIsFoundWithoutIt(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	content := random(2 * mib)
	source.put("disk", "1", content)
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:disk", Volume: "v1", Digest: digestOf(content)})
	if err != nil || a.Outcome != plugin.Filled {
		t.Fatalf("with the digest: got %+v, %v, want filled", a, err)
	}
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("without it: got %+v, want hit", a)
	}
	r.reopen(t, func() {})
	if a := r.create(t, "gated:disk", "v3", 0); a.Outcome != plugin.Hit {
		t.Errorf("without it, after a restart: got %+v, want hit", a)
	}
	if got := source.opened.Load(); got != 1 {
		t.Errorf("the source was read %d times, want once", got)
	}
}

func TestADigestThatIsNotTheImagesIsRefused(t *testing.T) {
	r, source := gatedRig(t)
	close(source.gate)
	x, y := random(mib), random(mib)
	for image, content := range map[string][]byte{"x": x, "y": y} {
		source.put(image, "1", content)
		source.promise(image, digestOf(content))
	}
	r.create(t, "gated:y", "vy", 0)
	for _, c := range []struct {
		digest imagesource.Digest
		want   error
	}{
		{digestOf(y), imagesource.ErrDigestMismatch}, // which is cached
		{imagesource.Digest{Algorithm: imagesource.SHA512, Hex: strings.Repeat("0", 128)}, plugin.ErrBadRequest},
		{digestOf(x), nil},
	} {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:x", Volume: "vx", Digest: c.digest})
		if !errors.Is(err, c.want) {
			t.Errorf("image x as %s: got %s, %v, want %v", c.digest, a.Outcome, err, c.want)
		}
	}
}
