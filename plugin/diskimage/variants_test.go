package diskimage_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// variantDisk is text, random bytes, zeroes and an odd end.
func variantDisk() []byte {
	disk := make([]byte, 12<<20)
	for at := 0; at < 2<<20; at += 4096 {
		copy(disk[at:at+4096], bytes.Repeat([]byte{'a' + byte(at>>12%23), '\n', byte(at >> 12)}, 1366))
	}
	rnd := rand.NewChaCha8([32]byte{7})
	rnd.Read(disk[3<<20 : 4<<20])
	rnd.Read(disk[7<<20 : 7<<20+70000])
	rnd.Read(disk[len(disk)-5000:])
	return disk
}

// shell runs a line in dir, where DISK is the raw disk and IMAGE what the line makes.
func shell(t testing.TB, dir, line string) {
	t.Helper()
	for _, name := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", line)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "DISK=disk", "IMAGE=image", "TO=qemu-img convert -f raw -O qcow2")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// variantDir has the disk in it.
func variantDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "disk"), variantDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What tools and their users make of a qcow2.
func TestVariantsEqualQemuImg(t *testing.T) {
	const plain = "$TO $DISK $IMAGE; "
	for name, line := range map[string]string{
		"out of order":                 "$TO -c -m 8 -W $DISK $IMAGE",
		"clusters of 2 MiB, zlib":      "$TO -c -o cluster_size=2M $DISK $IMAGE",
		"clusters of 512, plain":       "$TO -o cluster_size=512 $DISK $IMAGE",
		"64 bit refcounts":             "$TO -o refcount_bits=64 $DISK $IMAGE",
		"preallocated metadata":        "$TO -o preallocation=metadata $DISK $IMAGE",
		"bitmap":                       plain + "qemu-img bitmap --add --enable $IMAGE b0; qemu-io -c 'write -P 1 0 4k' $IMAGE",
		"snapshot deleted":             plain + "qemu-img snapshot -c s1 $IMAGE; qemu-io -c 'write -P 9 1M 64k' $IMAGE; qemu-img snapshot -d s1 $IMAGE",
		"snapshot applied, deleted":    plain + "qemu-img snapshot -c s1 $IMAGE; qemu-io -c 'write -P 9 1M 640k' $IMAGE; qemu-img snapshot -a s1 $IMAGE; qemu-img snapshot -d s1 $IMAGE",
		"grown":                        plain + "qemu-img resize -q $IMAGE +100M",
		"grown by an odd number":       plain + "qemu-img resize -q $IMAGE 60000256",
		"shrunk":                       "$TO -o cluster_size=4k $DISK $IMAGE; qemu-img resize -q --shrink $IMAGE 5M",
		"discarded":                    plain + "qemu-io -d unmap -c 'discard 0 1M' -c 'write -z 3M 1M' -c 'write -z -u 7M 512k' $IMAGE",
		"bytes behind the end":         plain + "head -c 1000 /dev/urandom >>$IMAGE",
		"zeroes behind the end":        plain + "truncate -s +10M $IMAGE",
		"empty":                        "qemu-img create -q -f qcow2 $IMAGE 64M",
		"one sector":                   "qemu-img create -q -f qcow2 $IMAGE 512",
		"empty, preallocated":          "qemu-img create -q -f qcow2 -o preallocation=metadata $IMAGE 64M",
		"flattened by rebase":          "qemu-img create -q -f qcow2 -F raw -b $DISK $IMAGE; qemu-img rebase -q -b '' $IMAGE",
		"flattened, zlib over it":      "$TO -c $DISK low; qemu-img create -q -f qcow2 -F qcow2 -b low $IMAGE; qemu-img rebase -q -b '' $IMAGE; qemu-io -c 'write -P 3 5M 100k' $IMAGE",
		"version 2 amended to 3":       "$TO -o compat=0.10 $DISK $IMAGE; qemu-img amend -o compat=1.1 $IMAGE",
		"refcounts amended":            plain + "qemu-img amend -o refcount_bits=64 $IMAGE",
		"as mkimg of FreeBSD lays out": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := variantDir(t)
			image := filepath.Join(dir, "image")
			if line == "" {
				if err := os.WriteFile(image, diskimagetest.Mkimg(variantDisk()), 0o600); err != nil {
					t.Fatal(err)
				}
			} else {
				shell(t, dir, line)
			}
			checkDecodes(t, image)
		})
	}
}

// A machine's saved state lies beyond the disk. Its tables stay when it is deleted.
func TestTablesBeyondTheDiskAreNotPlaced(t *testing.T) {
	for _, storage := range []diskimagetest.Storage{diskimagetest.Plain, diskimagetest.Zlib} {
		for _, order := range []diskimagetest.Order{diskimagetest.TablesFirst, diskimagetest.TablesLast, diskimagetest.Shuffled} {
			image := diskimagetest.QCOW2{ClusterBits: 9, Content: variantDisk()[:300<<10], Storage: storage, Order: order}.Bytes()
			binary.BigEndian.PutUint64(image[24:], 40<<10) // tables of 32 KiB each: eight of ten lie beyond
			checkDecodes(t, writeFile(t, "image", image))
		}
	}
}

func TestSavedMachinesAreDecoded(t *testing.T) {
	// a table of this cluster size reaches 32 MiB: the disk ends in the first one, and in the second one
	for _, size := range []string{"12M", "40M"} {
		dir := variantDir(t)
		shell(t, dir, "$TO -o cluster_size=16k $DISK $IMAGE; qemu-img resize -q $IMAGE "+size)
		image := filepath.Join(dir, "image")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		path, err := exec.LookPath("qemu-system-x86_64")
		if err != nil {
			t.Skip("qemu-system-x86_64 is not installed")
		}
		machine := exec.CommandContext(ctx, path, "-accel", "tcg", "-m", "16", "-display", "none", "-serial", "none", "-monitor", "stdio",
			"-nodefaults", "-drive", "file="+image+",if=virtio,format=qcow2")
		machine.Stdin = strings.NewReader("savevm s1\ndelvm s1\nquit\n")
		if out, err := machine.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if content := readFile(t, image); !hasTablesBeyond(content) {
			t.Fatalf("%s: the machine left nothing beyond the disk", size)
		}
		checkDecodes(t, image)
	}
}

// hasTablesBeyond tells whether the first level names tables that the disk does not reach.
func hasTablesBeyond(image []byte) bool {
	be := binary.BigEndian
	bits := be.Uint32(image[20:])
	needed := (be.Uint64(image[24:]) + 1<<(2*bits-3) - 1) >> (2*bits - 3)
	l1 := image[be.Uint64(image[40:]):][:8*be.Uint32(image[36:])]
	return len(bytes.Trim(l1[8*needed:], "\x00")) > 0
}

// command finds what a remedy tells people to run.
var command = regexp.MustCompile(`qemu-img (convert( -[fO] \w+| -o [\w=]+)*|check -r all)`)

// follow runs a remedy's command, and returns the image that it makes.
func follow(t *testing.T, dir, remedy string) string {
	t.Helper()
	verb := command.FindString(remedy)
	switch {
	case strings.HasPrefix(verb, "qemu-img check"):
		shell(t, dir, verb+" $IMAGE")
		return filepath.Join(dir, "image")
	case verb == "":
		t.Fatalf("no command in %q", remedy)
	}
	shell(t, dir, verb+" $IMAGE result")
	return filepath.Join(dir, "result")
}

// Whoever does what a refusal says has an image that is accepted, with the same disk.
func TestRemediesHelp(t *testing.T) {
	as := func(format string, options ...string) string {
		return "qemu-img convert -f raw -O " + format + " " + strings.Join(options, " ") + " $DISK $IMAGE"
	}
	for name, c := range map[string]struct{ rule, line string }{
		"vmdk":                {diskimage.RuleFormatNotAccepted, as("vmdk")},
		"vmdk, streamed":      {diskimage.RuleFormatNotAccepted, as("vmdk", "-o subformat=streamOptimized")},
		"vhd":                 {diskimage.RuleFormatNotAccepted, as("vpc", "-o force_size=on")},
		"vhd, fixed":          {diskimage.RuleFormatNotAccepted, as("vpc", "-o subformat=fixed,force_size=on")},
		"vhdx":                {diskimage.RuleFormatNotAccepted, as("vhdx")},
		"vdi":                 {diskimage.RuleFormatNotAccepted, as("vdi")},
		"qed":                 {diskimage.RuleFormatNotAccepted, as("qed")},
		"qcow version 1":      {diskimage.RuleFormatNotAccepted, as("qcow")},
		"snapshots":           {diskimage.RuleSnapshots, as("qcow2") + "; qemu-img snapshot -c s $IMAGE; qemu-io -c 'write -P 9 1M 64k' $IMAGE; qemu-img snapshot -a s $IMAGE"},
		"backing file":        {diskimage.RuleBackingFile, "qemu-img create -q -f qcow2 -F raw -b $DISK $IMAGE"},
		"data file":           {diskimage.RuleDataFile, as("qcow2", "-o data_file=beside")},
		"data file, raw":      {diskimage.RuleDataFile, as("qcow2", "-o data_file=beside,data_file_raw=on")},
		"subclusters":         {diskimage.RuleExtendedL2, as("qcow2", "-o extended_l2=on")},
		"not closed":          {diskimage.RuleDirty, as("qcow2", "-o lazy_refcounts=on") + `; printf '\001' | dd of=$IMAGE bs=1 seek=79 conv=notrunc status=none`},
		"marked as corrupt":   {diskimage.RuleCorrupt, as("qcow2") + `; printf '\002' | dd of=$IMAGE bs=1 seek=79 conv=notrunc status=none`},
		"vhd declared as raw": {diskimage.RuleFormatMismatch, as("vpc", "-o subformat=fixed,force_size=on")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := variantDir(t)
			shell(t, dir, c.line)
			opts := diskimage.Options{SourceBytes: -1}
			if c.rule == diskimage.RuleFormatMismatch {
				opts.Declared = diskimage.Raw
			}
			_, _, err := decode(t, bytes.NewReader(readFile(t, filepath.Join(dir, "image"))), opts)
			checkRule(t, err, c.rule)
			var refusal *diskimage.Refusal
			if !errors.As(err, &refusal) {
				return
			}
			result := readFile(t, follow(t, dir, refusal.Remedy))
			got, _, err := decode(t, bytes.NewReader(result), diskimage.Options{SourceBytes: -1, Scratch: newScratch(t)})
			if want := variantDisk(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q: %v, differs at %d of %d bytes", refusal.Remedy, err, firstDifference(got, want), len(want))
			}
		})
	}
}

// A compressed image that is refused must be unpacked first.
func TestRemediesOfCompressedImages(t *testing.T) {
	dir := variantDir(t)
	shell(t, dir, "qemu-img convert -f raw -O vmdk $DISK $IMAGE")
	packed := output(t, readFile(t, filepath.Join(dir, "image")), "xz", "-0", "-c")
	_, err := diskimage.Open(t.Context(), bytes.NewReader(packed), diskimage.Options{SourceBytes: -1})
	checkRule(t, err, diskimage.RuleFormatNotAccepted)
	var refusal *diskimage.Refusal
	errors.As(err, &refusal)
	if want := "Unpack it with xz -d. Convert it with qemu-img convert -f vmdk -O qcow2 and upload the result"; refusal.Remedy != want {
		t.Errorf("remedy %q, want %q", refusal.Remedy, want)
	}
}
