package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// watch returns a function that reports whether the file was opened since.
func watch(t *testing.T, path string) func() bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_ACCESS); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		n, err := unix.Read(fd, make([]byte, 4096))
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Error(err)
		}
		return n > 0
	}
}

// A file of the host that an image names, in every place where a format can name one, is never opened.
func TestFileThatAnImageNamesIsNeverOpened(t *testing.T) {
	secret := writeFile(t, "secret", []byte("of the host"))
	relative := "../" + filepath.Base(filepath.Dir(secret)) + "/" + filepath.Base(secret)
	opened := watch(t, secret)
	if readFile(t, secret); !opened() {
		t.Fatal("the watch sees nothing")
	}
	all := []diskimage.Format{diskimage.Raw, diskimage.QCOW2, diskimage.VMDK}
	for _, name := range []string{secret, relative, "json:{\"driver\":\"file\",\"filename\":\"" + secret + "\"}", "file:" + secret} {
		for where, image := range naming(name) {
			opts := diskimage.Options{Accept: all, SourceBytes: int64(len(image)), Scratch: newScratch(t)}
			_, _, err := decode(t, bytes.NewReader(image), opts)
			if !errors.Is(err, diskimage.ErrRefused) {
				t.Errorf("%s: got %v, want a refusal", where, err)
			}
			if _, err := diskimage.InspectFile(t.Context(), bytes.NewReader(image), int64(len(image)), opts); !errors.Is(err, diskimage.ErrRefused) {
				t.Errorf("%s: InspectFile got %v, want a refusal", where, err)
			}
			if opened() {
				t.Errorf("%s: %s was opened", where, name)
			}
		}
	}
	for _, c := range diskimagetest.Hostile() {
		image := bytes.ReplaceAll(c.Bytes, []byte("/etc/hostname"), []byte(secret[:min(len(secret), 13)]))
		_, _, err := decode(t, bytes.NewReader(image), diskimage.Options{Declared: c.Declared, Accept: c.Accept, AcceptCompression: c.Unpack, SourceBytes: -1, MaxVirtualBytes: c.Volume, Scratch: newScratch(t)})
		if !errors.Is(err, diskimage.ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", c.Name, err)
		}
	}
	if opened() {
		t.Error("the file was opened")
	}
	if _, err := os.Stat(secret); err != nil {
		t.Error(err)
	}
}

// naming makes images that name a file.
func naming(name string) map[string][]byte {
	be := binary.BigEndian
	good := func() []byte { return diskimagetest.QCOW2{Content: []byte("x")}.Bytes() }
	backing := good()
	be.PutUint64(backing[8:], 0x400)
	be.PutUint32(backing[16:], uint32(len(name)))
	copy(backing[0x400:], name)
	data := good()
	be.PutUint64(data[72:], 4)
	be.PutUint32(data[112:], 0x44415441)
	be.PutUint32(data[116:], uint32(len(name)))
	copy(data[120:], name)
	quiet := bytes.Clone(data)
	be.PutUint64(quiet[72:], 0)
	text := "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"" + name + "\" 0\n"
	child := make([]byte, 32<<10)
	copy(child, "KDMV\x01\x00\x00\x00")
	child[12], child[28], child[36] = 8, 1, 2
	copy(child[512:], strings.Replace(text, "parentCID=ffffffff", "parentCID=1\nparentFileNameHint=\""+name+"\"", 1))
	return map[string][]byte{
		"backing file": backing, "data file": data, "data file without its bit": quiet,
		"vmdk descriptor": []byte(text), "vmdk child": child,
	}
}
