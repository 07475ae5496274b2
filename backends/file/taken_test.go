package file_test

import (
	"errors"
	"os"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

// A volume that is to be taken back stays if somebody has written it meanwhile, and is theirs from then on.
// Whoever asks for a volume to be deleted means it, written or not.
func TestAVolumeThatSomebodyWroteIsNotTakenBack(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		for name, write := range map[string]func(path string) error{
			"written": overwrite,
			"cut":     func(path string) error { return os.Truncate(path, 0) },
			"grown":   func(path string) error { return os.Truncate(path, 64<<20) },
		} {
			t.Run(name, func(t *testing.T) {
				b := fs.open(t, fresh(t, dir))
				v := makeVolume(t, b, "v")
				must(t, write(v.Path))
				wantTaken(t, b, v)
				v = makeVolume(t, b, "w")
				must(t, write(v.Path))
				must(t, b.DeleteVolume(t.Context(), backends.VolumeRef{Name: v.Name}))
			})
		}
	})
}

// overwrite writes until the filesystem's clock, which ticks every few milliseconds, tells it from before.
func overwrite(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := f.Stat()
	for now := before; err == nil && now.ModTime().Equal(before.ModTime()); {
		if _, err = f.WriteAt([]byte("theirs"), 8192); err == nil {
			now, err = f.Stat()
		}
	}
	return err
}

// wantTaken wants v not to be removed by its ID, and to be ours no more.
func wantTaken(t *testing.T, b backends.Backend, v backends.Volume) {
	t.Helper()
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: v.Name, ID: v.ID}); !errors.Is(err, backends.ErrNotOurs) {
		t.Errorf("got error %v, want %v", err, backends.ErrNotOurs)
	}
	if _, err := os.Stat(v.Path); err != nil {
		t.Error(err)
	}
	if _, err := b.StatVolume(t.Context(), v.Name); !errors.Is(err, backends.ErrNotOurs) {
		t.Errorf("stat: got error %v, want %v", err, backends.ErrNotOurs)
	}
}
