package file_test

import (
	"os"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
)

// What was answered survives a power cut at that moment.
func TestAnsweredIsDurable(t *testing.T) {
	disks := map[fstest.Kind]int64{fstest.XFS: fstest.MinXFS, fstest.Btrfs: fstest.MinBtrfs, fstest.Ext4: 64 << 20}
	for kind, size := range disks {
		for name, do := range answered {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				fs := fstest.New(t, kind, size)
				b := open(t, fs.Dir)
				if name == "clone" && !b.Info().CanClone {
					return
				}
				check := do(t, b)
				disk := fs.Disk(t)
				must(t, b.Close())
				fs.Boot(t, disk)
				check(t, open(t, fs.Dir))
			})
		}
	}
}

// answered does something, and returns how to see that it was done.
var answered = map[string]func(t *testing.T, b *file.Backend) func(*testing.T, *file.Backend){
	"commit": func(t *testing.T, b *file.Backend) func(*testing.T, *file.Backend) {
		want := commit(t, b, "e-1")
		return func(t *testing.T, b *file.Backend) {
			f, got, err := b.OpenImage(t.Context(), "e-1")
			must(t, err)
			defer f.Close()
			if got.State != backends.Committed || got.Description.EntryID != want.Description.EntryID {
				t.Errorf("got %+v, want %+v", got, want)
			}
			wantContent(t, f.Name(), "e-1", want.VirtualBytes)
		}
	},
	"clone": func(t *testing.T, b *file.Backend) func(*testing.T, *file.Backend) {
		commit(t, b, "e-1")
		for _, name := range []backends.VolumeName{"before", "v"} {
			_, err := b.Clone(t.Context(), "e-1", volumeSpec(name))
			must(t, err)
		}
		return wantVolume("e-1")
	},
	"written volume": func(t *testing.T, b *file.Backend) func(*testing.T, *file.Backend) {
		makeVolume(t, b, "v")
		return wantVolume("v")
	},
	"copy": func(t *testing.T, b *file.Backend) func(*testing.T, *file.Backend) {
		commit(t, b, "e-1")
		f, _, err := b.OpenImage(t.Context(), "e-1")
		must(t, err)
		defer f.Close()
		_, _, err = b.CopyFromFile(t.Context(), f, volumeSpec("v"), nil)
		must(t, err)
		return wantVolume("e-1")
	},
	"retire": func(t *testing.T, b *file.Backend) func(*testing.T, *file.Backend) {
		commit(t, b, "e-1")
		_, err := b.Retire(t.Context(), "e-1")
		must(t, err)
		return func(t *testing.T, b *file.Backend) {
			for v := range b.ListImageVolumes(t.Context()) {
				t.Errorf("%+v is back", v)
			}
		}
	},
	"delete": func(t *testing.T, b *file.Backend) func(*testing.T, *file.Backend) {
		v := makeVolume(t, b, "v")
		must(t, b.DeleteVolume(t.Context(), backends.VolumeRef{Name: v.Name, ID: v.ID}))
		return func(t *testing.T, b *file.Backend) { wantVolumes(t, b) }
	},
}

func wantVolume(mark string) func(*testing.T, *file.Backend) {
	return func(t *testing.T, b *file.Backend) {
		v, err := b.StatVolume(t.Context(), "v")
		must(t, err)
		if !v.Complete || v.Token != "token-v" {
			t.Errorf("got %+v, want it whole, with its token", v)
		}
		wantContent(t, v.Path, mark, volumeSpec("v").SizeBytes)
		if _, err := os.Stat(v.Path); err != nil {
			t.Error(err)
		}
	}
}
