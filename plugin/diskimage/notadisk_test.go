package diskimage_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

// decoded is a disk as it comes out of an image.
func decoded(t *testing.T, image []byte, opts diskimage.Options) []byte {
	t.Helper()
	r, err := diskimage.Open(t.Context(), bytes.NewReader(image), opts)
	if err != nil {
		t.Fatal(err)
	}
	target := &sliceTarget{TB: t, disk: make([]byte, len(image))}
	if _, err := r.Decode(t.Context(), target, nil); err != nil {
		t.Fatal(err)
	}
	return target.disk
}

func TestWhatOnlyLooksOddIsADisk(t *testing.T) {
	sectors := func(begin string) []byte { return append([]byte(begin), make([]byte, 4096-len(begin))...) }
	for name, disk := range map[string][]byte{
		"whole sectors of text":   bytes.Repeat([]byte("not found\n"), 512),
		"no line of text":         bytes.Repeat([]byte("x"), 1000),
		"text with a NUL":         append(bytes.Repeat([]byte("line\n"), 300), 0),
		"0x5d and no dictionary":  sectors("\x5d\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"),
		"0x5d and a large size":   sectors("\x5d\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x01"),
		"a program":               sectors("\x7fELF\x02\x01\x01\x00"),
		"a brace":                 sectors("{ \x00"),
		"a brace and a quote":     sectors("{\"\x9c\x07\xe2"),
		"a filesystem, squashed":  sectors("hsqs\x01\x00\x00\x00"),
		"the end of a disk image": append(make([]byte, 4096-512), "koly\x00\x00\x00\x05"+strings.Repeat("\x00", 504)...),
	} {
		t.Run(name, func(t *testing.T) {
			if got := decoded(t, disk, diskimage.Options{SourceBytes: int64(len(disk))}); !bytes.Equal(got, disk) {
				t.Errorf("got other bytes")
			}
		})
	}
	json := sectors(`{"errors":[]}`)
	service := diskimage.Options{Declared: diskimage.Raw, DeclaredBy: diskimage.ByService, SourceBytes: -1}
	if got := decoded(t, json, service); !bytes.Equal(got, json) {
		t.Error("what a service declares as raw is another disk")
	}
}

func TestARawImageThatIsTooLargeIsNotToBeConverted(t *testing.T) {
	disk := append([]byte("\xeb\x63\x90"), make([]byte, 1<<20)...)
	_, err := diskimage.Open(t.Context(), bytes.NewReader(disk), diskimage.Options{SourceBytes: 1 << 62})
	var refusal *diskimage.Refusal
	if !errors.As(err, &refusal) || refusal.Rule != diskimage.RuleVirtualSize || strings.Contains(refusal.Remedy, "qemu-img") {
		t.Errorf("got %v", err)
	}
}
