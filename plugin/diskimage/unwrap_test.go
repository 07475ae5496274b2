package diskimage_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// output is what a program writes for an input.
func output(t testing.TB, input []byte, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

// compressors are what people call, with what changes the form of the result.
var compressors = []struct {
	kind diskimage.Compression
	args []string
}{
	{diskimage.Gzip, []string{"gzip", "-c", "-1"}},
	{diskimage.Gzip, []string{"gzip", "-c", "-9"}},
	{diskimage.XZ, []string{"xz", "-c", "-0"}},
	{diskimage.XZ, []string{"xz", "-c", "-9"}},
	{diskimage.XZ, []string{"xz", "-c", "-1", "-T2", "--block-size=1MiB"}},
	{diskimage.XZ, []string{"xz", "-c", "--check=none", "--x86", "--lzma2=preset=0"}},
	{diskimage.XZ, []string{"xz", "-c", "--check=crc32", "--delta=dist=4", "--lzma2=preset=0"}},
	{diskimage.XZ, []string{"xz", "-c", "-1", "--check=sha256"}},
	{diskimage.Zstd, []string{"zstd", "-q", "-c", "-1"}},
	{diskimage.Zstd, []string{"zstd", "-q", "-c", "-5", "--no-check"}},
	{diskimage.Zstd, []string{"zstd", "-q", "-c", "--ultra", "-22"}},
	{diskimage.Zstd, []string{"zstd", "-q", "-c", "-3", "--long=27", "-T2"}},
	{diskimage.Bzip2, []string{"bzip2", "-c", "-1"}},
	{diskimage.Bzip2, []string{"bzip2", "-c", "-9"}},
}

// compressedDisks are a raw disk and the same as qcow2.
func compressedDisks(t testing.TB) (disk []byte, images map[diskimage.Format][]byte) {
	disk = contents(t)["mixed"]
	path := filepath.Join(t.TempDir(), "image")
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", writeFile(t, "disk", disk), path)
	return disk, map[diskimage.Format][]byte{diskimage.Raw: disk, diskimage.QCOW2: readFile(t, path)}
}

func TestCompressedImagesAreUnpacked(t *testing.T) {
	disk, images := compressedDisks(t)
	for _, c := range compressors {
		for format, image := range images {
			t.Run(filepath.Join(filepath.Join(c.args...), string(format)), func(t *testing.T) {
				t.Parallel()
				packed := output(t, image, c.args[0], c.args[1:]...)
				checkUnpacks(t, packed, disk, diskimage.Info{Format: format, Compression: c.kind})
			})
		}
	}
}

// checkUnpacks decodes a compressed image in odd pieces, declared or not.
func checkUnpacks(t *testing.T, packed, disk []byte, want diskimage.Info) {
	t.Helper()
	for _, way := range []struct {
		name     string
		stream   io.Reader
		size     int64
		declared diskimage.Format
	}{
		{"known size", bytes.NewReader(packed), int64(len(packed)), want.Format},
		{"unknown size", iotest.DataErrReader(bytes.NewReader(packed)), -1, ""},
		{"lent blocks", &lender{oddReader{in: bytes.NewReader(packed), rnd: rand.New(rand.NewPCG(3, 4))}}, int64(len(packed)), ""},
	} {
		got, stats, err := decode(t, way.stream, diskimage.Options{Declared: way.declared, SourceBytes: way.size, Scratch: newScratch(t)})
		if err != nil || !bytes.Equal(got, disk) {
			t.Errorf("%s: %v, differs at %d of %d bytes", way.name, err, firstDifference(got, disk), len(disk))
		}
		if stats.SourceBytes != int64(len(packed)) || stats.VirtualBytes != int64(len(disk)) {
			t.Errorf("%s: stats %+v, want %d bytes read for a disk of %d", way.name, stats, len(packed), len(disk))
		}
	}
	info, err := diskimage.InspectFile(t.Context(), bytes.NewReader(packed), int64(len(packed)), diskimage.Options{})
	if err != nil || info.Format != want.Format || info.Compression != want.Compression || info.VirtualBytes != int64(len(disk)) {
		t.Errorf("InspectFile: %+v, %v; want %+v", info, err, want)
	}
}

func TestConcatenatedMembersAreOneImage(t *testing.T) {
	disk := contents(t)["mixed"]
	half := len(disk)/2 + 100
	for _, c := range compressors {
		first, second := output(t, disk[:half], c.args[0], c.args[1:]...), output(t, disk[half:], c.args[0], c.args[1:]...)
		none := output(t, nil, c.args[0], c.args[1:]...)
		want := diskimage.Info{Format: diskimage.Raw, Compression: c.kind}
		checkUnpacks(t, bytes.Join([][]byte{first, none, second, none}, nil), disk, want)
	}
	gz, xz := diskimagetest.Compress(diskimage.Gzip, disk), diskimagetest.Compress(diskimage.XZ, disk)
	padding := make([]byte, 10240)
	checkUnpacks(t, append(gz, padding...), disk, diskimage.Info{Format: diskimage.Raw, Compression: diskimage.Gzip})
	checkUnpacks(t, append(xz, padding...), disk, diskimage.Info{Format: diskimage.Raw, Compression: diskimage.XZ})
	skipped := append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), diskimagetest.Compress(diskimage.Zstd, disk)...)
	checkUnpacks(t, skipped, disk, diskimage.Info{Format: diskimage.Raw, Compression: diskimage.Zstd})
}

// What an image service declares as raw is the disk, whatever a guest has written to its beginning.
func TestADeclarationByTheServiceIsBelieved(t *testing.T) {
	disk := contents(t)["sector"]
	for name, content := range map[string][]byte{
		"gzip": diskimagetest.Compress(diskimage.Gzip, disk), "zip": append([]byte("PK\x03\x04"), disk...),
		"page": append([]byte("<html>"), disk...), "one byte": []byte("x"),
	} {
		opts := diskimage.Options{Declared: diskimage.Raw, DeclaredBy: diskimage.ByService, SourceBytes: int64(len(content))}
		got, _, err := decode(t, bytes.NewReader(content), opts)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %v, equal %v", name, err, bytes.Equal(got, content))
		}
	}
	image := diskimagetest.QCOW2{Content: disk}.Bytes()
	_, err := diskimage.Open(t.Context(), bytes.NewReader(image), diskimage.Options{
		Declared: diskimage.Raw, DeclaredBy: diskimage.ByService, SourceBytes: int64(len(image)),
	})
	checkRule(t, err, diskimage.RuleFormatMismatch)
}

func TestABombEnds(t *testing.T) {
	bomb := diskimagetest.Bomb(8 << 10)
	target := &boundedTarget{TB: t, size: 8 << 30}
	opts := diskimage.Options{SourceBytes: int64(len(bomb))}
	r, err := diskimage.Open(t.Context(), bytes.NewReader(bomb), opts)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := r.Decode(t.Context(), target, nil)
	checkRule(t, err, diskimage.RuleRatio)
	if stats.VirtualBytes > 1100<<20 {
		t.Errorf("%d bytes were unpacked of %d", stats.VirtualBytes, len(bomb))
	}
	if r, err = diskimage.Open(t.Context(), bytes.NewReader(bomb), opts); err != nil {
		t.Fatal(err)
	}
	r.Bound(8 << 20)
	_, err = r.Decode(t.Context(), target, nil)
	checkRule(t, err, diskimage.RuleTooLarge)
}

func TestSourceErrorsOfCompressedImages(t *testing.T) {
	packed := diskimagetest.Compress(diskimage.XZ, contents(t)["random"])
	broken := errors.New("connection reset")
	for name, c := range map[string]struct {
		stream io.Reader
		size   int64
		want   error
	}{
		"breaks":   {io.MultiReader(bytes.NewReader(packed[:200<<10]), iotest.ErrReader(broken)), int64(len(packed)), broken},
		"shorter":  {bytes.NewReader(packed), int64(len(packed)) + 1, io.ErrUnexpectedEOF},
		"longer":   {bytes.NewReader(packed), int64(len(packed)) - 1, diskimage.ErrSourceLonger},
		"cut, too": {bytes.NewReader(packed[:200<<10]), int64(len(packed)), io.ErrUnexpectedEOF},
	} {
		_, _, err := decode(t, c.stream, diskimage.Options{SourceBytes: c.size})
		if !errors.Is(err, c.want) || !errors.Is(err, diskimage.ErrSource) || errors.Is(err, diskimage.ErrRefused) {
			t.Errorf("%s: %v, want %v of the source", name, err, c.want)
		}
	}
}

func TestISOsAreRawDisks(t *testing.T) {
	iso := make([]byte, 1<<20)
	copy(iso[0x8001:], "CD001")
	copy(iso[510:], "\x55\xaa") // a hybrid, for USB sticks
	copy(iso[512:], "EFI PART")
	for declared, want := range map[diskimage.Format]diskimage.Format{
		"": diskimage.Raw, diskimage.Raw: diskimage.Raw, diskimage.ISO: diskimage.ISO,
	} {
		opts := diskimage.Options{Declared: declared, SourceBytes: int64(len(iso))}
		r, err := diskimage.Open(t.Context(), bytes.NewReader(iso), opts)
		if err != nil {
			t.Errorf("declared %q: %v", declared, err)
			continue
		}
		if info := r.Info(); info.Format != want || info.ContentFormat() != "raw" || info.VirtualBytes != int64(len(iso)) {
			t.Errorf("declared %q: %+v", declared, info)
		}
		if got, _, err := decode(t, bytes.NewReader(iso), opts); err != nil || !bytes.Equal(got, iso) {
			t.Errorf("declared %q: %v, equal %v", declared, err, bytes.Equal(got, iso))
		}
	}
}

// checkRawDisk wants a disk decoded to itself, whatever accepted name it goes by.
func checkRawDisk(t *testing.T, name string, content []byte) {
	t.Helper()
	declared := []diskimage.Format{"", diskimage.Raw}
	if filepath.Ext(name) == ".iso" {
		declared = append(declared, diskimage.ISO)
	}
	for _, as := range declared {
		got, _, err := decode(t, bytes.NewReader(content), diskimage.Options{Declared: as, SourceBytes: int64(len(content))})
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s declared %q: %v, equal %v", name, as, err, bytes.Equal(got, content))
		}
	}
}

// Rescue disks of Debian's packages, where they are installed.
func TestRealISOs(t *testing.T) {
	found := 0
	for _, pattern := range []string{"/usr/lib/grub-rescue/*", "/usr/lib/ipxe/*.iso", "/usr/lib/memtest86+/*.iso"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found++
			checkRawDisk(t, path, content)
		}
	}
	if found < 6 {
		t.Skip("grub-rescue-pc, ipxe or memtest86+ is not installed")
	}
}
