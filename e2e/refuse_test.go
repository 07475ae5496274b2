package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// refused are images that must not be cached, each made from one good qcow2 image (or from its raw
// disk) by one change, with the error that names it.
var refused = []struct {
	name   string // of the file in the library
	make   func(t *testing.T, file string)
	volume int64 // its size in bytes; 0: the image's
	code   string
	rule   string
}{
	{name: "backing-file.qcow2", rule: "backing-file", make: func(t *testing.T, file string) {
		harness.Must(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", file, "64M")
	}},
	{name: "data-file.qcow2", rule: "data-file", make: func(t *testing.T, file string) {
		harness.Must(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+file+".data,data_file_raw=on", file, "64M")
	}},
	{name: "snapshot.qcow2", rule: "snapshots", make: func(t *testing.T, file string) {
		goodQcow2(t, file)
		harness.Must(t, "qemu-img", "snapshot", "-c", "s", file)
	}},
	{name: "encrypted.qcow2", rule: "encrypted", make: encryptedQcow2},
	{name: "dirty.qcow2", rule: "dirty", make: patched(79, 1)},
	{name: "corrupt.qcow2", rule: "corrupt", make: patched(79, 2)},
	{name: "extended-l2.qcow2", rule: "extended-l2", make: func(t *testing.T, file string) {
		harness.Must(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", file, "16M")
	}},
	{name: "unknown-feature.qcow2", rule: "unknown-feature", make: patched(72, 0x80)},
	{name: "version.qcow2", rule: "version", make: patched(7, 4)},
	{name: "cluster-bits.qcow2", rule: "cluster-bits", make: patched(23, 63)},
	{name: "virtual-size.qcow2", rule: "virtual-size", make: patched(24, 0x40)},
	{name: "l1-table.qcow2", rule: "l1-table", make: patched(36, 0x10)},
	{name: "l1-outside.qcow2", rule: "truncated", make: patched(42, 1)},
	{name: "truncated.qcow2", rule: "truncated", make: func(t *testing.T, file string) {
		goodQcow2(t, file)
		if err := os.Truncate(file, harness.FileSize(t, file)/2); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "header-only.qcow2", rule: "truncated", make: func(t *testing.T, file string) {
		goodQcow2(t, file)
		if err := os.Truncate(file, 60); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "empty.raw", rule: "empty", make: func(t *testing.T, file string) {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "qcow2-called.raw", rule: "format-mismatch", make: goodQcow2},
	{name: "raw-called.qcow2", rule: "format-mismatch", make: func(t *testing.T, file string) {
		harness.SmallDisk(t, file, 5, imageSize, imageSize)
	}},
	{name: "disk.tar.gz", rule: "archive", make: written("tar", "-czf", "FILE", "-C", "/etc", "hostname")},
	{name: "portal.img", rule: "not-a-disk", make: written("sh", "-c", "echo '<!DOCTYPE html><html><body>Sign in</body></html>' >FILE")},
	{name: "one-byte.img", rule: "under-a-sector", make: written("sh", "-c", "printf x >FILE")},
	{name: "cut.raw.gz", rule: "truncated", make: written("sh", "-c", "head -c 3000000 /dev/urandom | gzip | head -c 2000000 >FILE")},
	{name: "twice.img.xz", rule: "nested-compression", make: written("sh", "-c", "head -c 3000000 /dev/zero | gzip | xz >FILE")},
	{name: "disk.vmdk", rule: "format-not-accepted", make: converted("vmdk")},
	{name: "disk.vdi", rule: "format-not-accepted", make: converted("vdi")},
	{name: "disk.vhdx", rule: "format-not-accepted", make: converted("vhdx")},
	{name: "disk.vhd", rule: "format-not-accepted", make: converted("vpc")},
	{name: "compressed-garbage.qcow2", rule: "compressed-data", make: garbled},
	{name: "too-large.qcow2", rule: "too-large-for-volume", make: goodQcow2, volume: mib, code: "volume_too_small"},
	{name: "too-large.raw", rule: "too-large-for-volume", volume: mib, code: "volume_too_small", make: func(t *testing.T, file string) {
		harness.SmallDisk(t, file, 5, imageSize, imageSize)
	}},
	{name: "wrong-digest.raw", code: "digest_mismatch", make: func(t *testing.T, file string) {
		harness.SmallDisk(t, file, 6, imageSize, imageSize)
		sums := filepath.Join(filepath.Dir(file), "SHA256SUMS")
		line := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte("other bytes")), filepath.Base(file))
		if err := os.WriteFile(sums, []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
	}},
}

// Every image that must not be cached gets an error of its own that says what to do, and leaves nothing
// behind; the daemon goes on.
// encryptedQcow2 repeats what QEMU gives up now and then: it takes the time of a key derivation, and finds
// that none has passed where the machine is fast and the kernel counts in ticks.
func encryptedQcow2(t *testing.T, file string) {
	var out []byte
	for range 50 {
		var err error
		out, err = exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "--object", "secret,id=s,data=secret", "-f", "qcow2",
			"-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", file, "16M").CombinedOutput()
		if err == nil {
			return
		}
	}
	t.Fatalf("qemu-img makes no encrypted image: %s", out)
}

func TestRefusedImagesLeaveNothing(t *testing.T) {
	harness.NeedTools(t, "qemu-img")
	d := cloning(t, harness.Config{})
	ref, disk := addImage(t, d, 1)
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			c.make(t, filepath.Join(d.Config.Images, c.name))
			exit, answer, failed := d.TryCreate(t, harness.Volume{Image: "library:" + c.name, Name: "v-" + c.name, Size: max(c.volume, 0)})
			if exit == 0 || exit == harness.ExitBypassed {
				t.Fatalf("got exit %d and %+v, want a refusal", exit, answer)
			}
			want := c.code
			if want == "" {
				want = "image_refused"
			}
			if failed.Code != want || failed.Rule != c.rule && c.code == "" {
				t.Errorf("got code %q, rule %q (%s); want %q, %q", failed.Code, failed.Rule, failed.Message, want, c.rule)
			}
			if len(strings.Fields(failed.Message)) < 4 {
				t.Errorf("message is no sentence: %q", failed.Message)
			}
			if _, err := os.Stat(filepath.Join(d.Config.Volumes, "v-"+c.name)); !os.IsNotExist(err) {
				t.Errorf("the volume's file: got %v, want that it does not exist", err)
			}
			if left := d.Leftovers(t); len(left) > 0 {
				t.Errorf("left over on disk: %q", left)
			}
		})
	}
	if got := len(d.Entries(t)); got != 0 {
		t.Errorf("entries: got %d, want 0", got)
	}
	got := d.Create(t, harness.Volume{Image: ref, Name: "good"})
	harness.SameContent(t, got.Path, disk, imageSize)
	d.Consistent(t)
}

// written lets a program write FILE.
func written(program string, args ...string) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		t.Helper()
		var with []string
		for _, a := range args {
			with = append(with, strings.ReplaceAll(a, "FILE", file))
		}
		if out, err := exec.CommandContext(t.Context(), program, with...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
	}
}

// goodQcow2 writes a well-formed image with content.
func goodQcow2(t *testing.T, file string) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	harness.SmallDisk(t, raw, 3, 2*imageSize, imageSize)
	harness.Convert(t, raw, file)
}

// patched is a good image with one byte of its header changed.
func patched(offset int64, value byte) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		goodQcow2(t, file)
		harness.Patch(t, file, offset, value)
	}
}

func converted(format string) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		raw := filepath.Join(t.TempDir(), "disk.raw")
		harness.SmallDisk(t, raw, 4, imageSize, imageSize)
		harness.Must(t, "qemu-img", "convert", "-f", "raw", "-O", format, raw, file)
	}
}

// garbled is a compressed image whose first compressed cluster is overwritten.
func garbled(t *testing.T, file string) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	text := strings.Repeat("compressible text, again and again. ", 1<<16)
	if err := os.WriteFile(raw, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, 4*mib); err != nil {
		t.Fatal(err)
	}
	harness.Convert(t, raw, file, "-c")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// qemu-img writes compressed clusters behind header, tables and refcounts: the end is data.
	for i := len(data) - 4096; i < len(data); i++ {
		data[i] = 0xff
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
