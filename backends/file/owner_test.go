package file_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
)

// Volumes belong to whom they are for, however they are made, as soon as they have their names.
func TestVolumesAreGivenToTheirOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root may give files away: run this test as root")
	}
	const uid, gid = 12345, 54321
	on(t, func(t *testing.T, _ filesystem, dir string) {
		b, err := file.Open(t.Context(), file.Config{Name: "b", Path: dir,
			Owner: file.Owner{User: strconv.Itoa(uid), Group: strconv.Itoa(gid), Mode: 0o640}})
		must(t, err)
		defer b.Close()
		v := commit(t, b, "e-1")
		made := []backends.VolumeName{"written"}
		st, err := b.CreateVolume(t.Context(), volumeSpec("written"))
		must(t, err)
		_, err = st.Commit(t.Context())
		must(t, err)
		src, err := os.CreateTemp(t.TempDir(), "source")
		must(t, err)
		defer src.Close()
		_, _, err = b.CopyFromFile(t.Context(), src, volumeSpec("copied"), nil)
		must(t, err)
		made = append(made, "copied")
		if b.Info().CanClone {
			_, err = b.Clone(t.Context(), "e-1", volumeSpec("cloned"))
			must(t, err)
			made = append(made, "cloned")
		}
		for _, name := range made {
			info, err := os.Stat(filepath.Join(dir, string(name)))
			must(t, err)
			st := info.Sys().(*syscall.Stat_t)
			if st.Uid != uid || st.Gid != gid || info.Mode() != fs.FileMode(0o640) {
				t.Errorf("%s: got %d:%d %v, want %d:%d 0640", name, st.Uid, st.Gid, info.Mode(), uid, gid)
			}
			if got, err := b.StatVolume(t.Context(), name); err != nil || !got.Complete {
				t.Errorf("%s: got %+v, %v", name, got, err)
			}
			// It is as it was made: it may be taken back by its ID.
			got, err := b.StatVolume(t.Context(), name)
			must(t, err)
			must(t, b.DeleteVolume(t.Context(), backends.VolumeRef{Name: name, ID: got.ID}))
		}
		info, err := os.Stat(filepath.Join(dir, ".clonecache/image-volumes", string(v.ID)))
		must(t, err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid == uid || info.Mode() != 0o400 {
			t.Errorf("the image-volume: got owner %d, %v; it stays the daemon's", st.Uid, info.Mode())
		}
	})
}

func TestAnOwnerThatDoesNotExistIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, owner := range []file.Owner{{User: "no-such-user"}, {Group: "no-such-group"}} {
		_, err := file.Open(t.Context(), file.Config{Name: "b", Path: dir, Owner: owner})
		if err == nil || !strings.Contains(err.Error(), "no-such-") {
			t.Errorf("%+v: got %v, want an error that names it", owner, err)
		}
		if err := owner.Try(dir); err == nil {
			t.Errorf("%+v: trying it was fine", owner)
		}
	}
	must(t, file.Owner{Group: strconv.Itoa(os.Getegid()), Mode: 0o600}.Try(dir))
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
