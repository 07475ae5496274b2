//go:build ceph

package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
)

// diskBytes is the image's disk; the volume is larger, as a requester may ask.
const (
	diskBytes   = 128 * harness.MiB
	volumeBytes = 192 * harness.MiB
)

// A guest finds every file of the image in its volume, byte for byte, while the image-volume that the
// volume is a clone of has been evicted; and the image-volume goes with its last clone.
func TestAGuestReadsAVolumeWhoseImageVolumeIsEvicted(t *testing.T) {
	harness.NeedTools(t, "mke2fs", "qemu-img", "qemu-system-x86_64")
	boot := kernel(t)
	files, want := filesOf(t, boot)
	space := namespace(t)
	d := harness.Start(t, harness.Config{Ceph: &harness.Ceph{Cluster: cluster, Namespace: space}, Fallback: harness.NoFallback})
	image(t, files, filepath.Join(d.Config.Images, "guest.qcow2"))

	d.Create(t, harness.Volume{Image: "library:guest.qcow2", Name: "first"})
	made := d.Create(t, harness.Volume{Image: "library:guest.qcow2", Name: "guest", Size: volumeBytes})
	if made.Outcome != "hit" {
		t.Fatalf("outcome of the guest's volume: got %s (%s), want hit", made.Outcome, made.Detail)
	}
	if r := d.CLI(t, "entry", "delete", "--all", "--force"); r.Exit != 0 {
		t.Fatalf("evict: exit %d\n%s%s", r.Exit, r.Stdout, r.Stderr)
	}
	detached := d.Entries(t)
	if len(detached) != 1 || detached[0].State != "detached" || detached[0].Clones != 2 {
		t.Fatalf("entries after the eviction: got %+v, want one detached with 2 clones", detached)
	}

	got := sums(t, boot, fmt.Sprintf("rbd:volumes/%s/guest:conf=%s:id=clonecache", space, cluster.Conf()))
	if !maps.Equal(got, want) {
		t.Errorf("the guest sees %d files, want %d; those that differ: %q", len(got), len(want), differing(got, want))
	}

	for _, command := range [][]string{{"volume", "delete", "first"}, {"volume", "delete", "guest"}, {"clean"}} {
		if r := d.CLI(t, command...); r.Exit != 0 {
			t.Fatalf("%q: exit %d\n%s%s", command, r.Exit, r.Stdout, r.Stderr)
		}
	}
	if entries := d.Entries(t); len(entries) != 0 {
		t.Errorf("entries after the last clone has gone: got %+v, want none", entries)
	}
	if left := images(t, space); left != "" {
		t.Errorf("left over in the pools:\n%s", left)
	}
}

// bootFiles are what QEMU boots.
type bootFiles struct{ kernel, initrd string }

// kernel makes them once per checkout.
func kernel(t *testing.T) bootFiles {
	t.Helper()
	dir, err := filepath.Abs("../../.cache/guest")
	if err != nil {
		t.Fatal(err)
	}
	made := bootFiles{kernel: filepath.Join(dir, "vmlinuz"), initrd: filepath.Join(dir, "initrd")}
	if _, err := os.Stat(made.kernel); err == nil {
		return made
	}
	if out, err := exec.CommandContext(t.Context(), "./kernel.sh", dir).CombinedOutput(); err != nil {
		t.Skipf("no Debian kernel to boot (kernel.sh fetches it from Debian's archive): %v\n%s", err, out)
	}
	return made
}

// filesOf fills a directory with what a disk has: a kernel with its initramfs, and some thousand files.
// It returns their checksums by path.
func filesOf(t *testing.T, boot bootFiles) (dir string, sums map[string]string) {
	t.Helper()
	dir = t.TempDir()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"net", "crypto", "runtime"} {
		harness.Must(t, "cp", "-rL", filepath.Join(strings.TrimSpace(string(root)), "src", part), dir)
	}
	harness.Must(t, "mkdir", filepath.Join(dir, "boot"))
	harness.Must(t, "cp", boot.kernel, boot.initrd, filepath.Join(dir, "boot"))
	sums = map[string]string{}
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		sums["./"+path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, sums
}

// image writes a compressed disk with an ext4 that has these files.
func image(t *testing.T, files, to string) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "guest.raw")
	harness.Must(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", files, raw, fmt.Sprintf("%dM", diskBytes/harness.MiB))
	harness.Convert(t, raw, to, "-c")
}

// sums boots a guest on a disk and returns the checksums that it prints, by path.
func sums(t *testing.T, boot bootFiles, disk string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // only what hangs reaches it: nothing but the processor is emulated
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "256",
		"-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", boot.kernel, "-initrd", boot.initrd, "-append", "console=ttyS0 quiet panic=-1",
		"-drive", "file="+disk+",format=raw,if=virtio")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	console, err := cmd.Output()
	_, after, begun := strings.Cut(string(console), "sums begin")
	printed, _, ended := strings.Cut(after, "sums end")
	if err != nil || !begun || !ended {
		t.Fatalf("guest on %s: %v\n%s\nconsole:\n%s", disk, err, &stderr, console)
	}
	got := map[string]string{}
	for line := range strings.Lines(printed) {
		if sum, path, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			got[path] = sum
		}
	}
	return got
}

// differing are the paths, at most ten, whose checksums are not the same.
func differing(got, want map[string]string) []string {
	var paths []string
	for path, sum := range want {
		if got[path] != sum && len(paths) < 10 {
			paths = append(paths, path)
		}
	}
	return paths
}
