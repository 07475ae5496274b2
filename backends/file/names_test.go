package file_test

import (
	"errors"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

func TestNamesOfNewVolumesArePlain(t *testing.T) {
	b := open(t, t.TempDir())
	for _, name := range []backends.VolumeName{"a\nb", "a\x1b[2J", "\xff\xfe", "a b", "ü", "a\tb", "a;b"} {
		if _, err := b.CreateVolume(t.Context(), volumeSpec(name)); !errors.Is(err, backends.ErrBadName) {
			t.Errorf("%q: got error %v, want %v", name, err, backends.ErrBadName)
		}
	}
	for _, name := range []backends.VolumeName{"volume-7d444840-9dc0-11d1-b245-5ffdce74fad2", "Web_1.raw"} {
		makeVolume(t, b, name)
	}
}
