package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/rawfile"
	"github.com/clonecache/clonecache/plugin/words"
)

// filesystem is one that tests run on.
type filesystem struct {
	name   string
	clones bool
	dir    func(testing.TB) string // mounts it
	take   func(*rawfile.Features) // what it is made to lack
}

func mounted(kind fstest.Kind, size int64) func(testing.TB) string {
	return func(tb testing.TB) string { return fstest.Mount(tb, kind, size) }
}

func all(*rawfile.Features) {}

var filesystems = []filesystem{
	{"xfs", true, mounted(fstest.XFS, 512<<20), all},
	{"btrfs", true, mounted(fstest.Btrfs, 512<<20), all},
	{"ext4", false, mounted(fstest.Ext4, 512<<20), all},
	{"xfs without O_TMPFILE", true, mounted(fstest.XFS, 512<<20), func(f *rawfile.Features) { f.Unnamed = false }},
	{"xfs without ordered metadata", true, mounted(fstest.XFS, 512<<20), func(f *rawfile.Features) { f.OrderedMetadata = false }},
	{"btrfs without xattrs", true, mounted(fstest.Btrfs, 512<<20), func(f *rawfile.Features) { f.Xattrs = false }},
	{"ext4 without O_TMPFILE and xattrs", false, mounted(fstest.Ext4, 512<<20), func(f *rawfile.Features) { f.Unnamed, f.Xattrs = false, false }},
}

// on runs a test on each filesystem.
func on(t *testing.T, test func(t *testing.T, fs filesystem, dir string)) {
	for _, fs := range filesystems {
		t.Run(fs.name, func(t *testing.T) { test(t, fs, fs.dir(t)) })
	}
}

// open opens a backend in a directory until the test ends.
func (fs filesystem) open(tb testing.TB, path string) *file.Backend {
	tb.Helper()
	b, err := file.OpenWithout(tb.Context(), file.Config{Name: "local", Path: path}, fs.take)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			tb.Error(err)
		}
	})
	return b
}

func TestContract(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		backendtest.Run(t, func(tb testing.TB) backends.Backend { return fs.open(tb, fresh(tb, dir)) })
	})
}

func TestContractInATemporaryDirectory(t *testing.T) {
	backendtest.Run(t, func(tb testing.TB) backends.Backend {
		b, err := file.Open(tb.Context(), file.Config{Name: "local", Path: tb.TempDir()})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = b.Close() })
		return b
	})
}

// fresh makes an empty directory below dir, for as long as the test runs: the filesystem is small.
func fresh(tb testing.TB, dir string) string {
	tb.Helper()
	path, err := os.MkdirTemp(dir, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(path) })
	return path
}

func TestInfoIsWhatTheFilesystemCanDo(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		info := fs.open(t, dir).Info()
		if info.CanClone != fs.clones {
			t.Errorf("got %+v, want CanClone %t", info, fs.clones)
		}
		if !fs.clones && (!strings.Contains(info.NoClone, dir) || !strings.Contains(info.NoClone, "ext4")) {
			t.Errorf("%q does not name %s and its filesystem", info.NoClone, dir)
		}
	})
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	config := file.Config{Name: "local", Path: dir}
	b, err := file.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Open(t.Context(), config); !errors.Is(err, backends.ErrInUse) {
		t.Errorf("opened twice: got error %v, want %v", err, backends.ErrInUse)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := file.Open(t.Context(), config)
	if err != nil {
		t.Fatalf("opened after Close: %v", err)
	}
	_ = again.Close()
}

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]file.Config{
		"no name":         {Path: t.TempDir()},
		"no path":         {Name: "local"},
		"a relative path": {Name: "local", Path: "volumes"},
		"a file":          {Name: "local", Path: touch(t, filepath.Join(t.TempDir(), "f"))},
	} {
		if _, err := file.Open(t.Context(), c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func touch(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A volume that its owner renamed, copied or replaced has been taken over.
func TestATakenOverVolumeIsNotOurs(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		b := fs.open(t, dir)
		path := func(name string) string { return filepath.Join(dir, name) }
		for _, name := range []backends.VolumeName{"renamed", "replaced", "linked"} {
			makeVolume(t, b, name)
		}
		must(t, os.Rename(path("renamed"), path("another")))
		must(t, os.Remove(path("replaced")))
		touch(t, path("replaced"))
		must(t, os.Symlink("linked", path("symlink")))
		must(t, os.Mkdir(path("directory"), 0o700))
		for _, name := range []backends.VolumeName{"another", "replaced", "symlink", "directory"} {
			if _, err := b.StatVolume(t.Context(), name); !errors.Is(err, backends.ErrNotOurs) {
				t.Errorf("stat %s: got error %v, want %v", name, err, backends.ErrNotOurs)
			}
			if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: name}); !errors.Is(err, backends.ErrNotOurs) {
				t.Errorf("delete %s: got error %v, want %v", name, err, backends.ErrNotOurs)
			}
		}
		wantVolumes(t, b, "linked")
	})
}

func TestAVolumeStaysWhateverItsSizeBecomes(t *testing.T) {
	b := open(t, t.TempDir())
	v := makeVolume(t, b, "v")
	spec := volumeSpec("v")
	for _, step := range []struct {
		size int64
		want backends.Settled
	}{{2 * v.SizeBytes, backends.Whole}, {v.SizeBytes, backends.Whole}, {v.SizeBytes / 2, backends.Whole}} { // who cut it wanted it so
		must(t, os.Truncate(v.Path, step.size))
		if got, err := b.Settle(t.Context(), spec); err != nil || got != step.want {
			t.Errorf("%d bytes: got %v, %v, want %v", step.size, got, err, step.want)
		}
	}
}

func TestAnotherInstallationsVolumesAreNotOurs(t *testing.T) {
	dir := t.TempDir()
	for i, mark := range []string{"one", "two"} {
		b, err := file.Open(t.Context(), file.Config{Name: "local", Path: dir, Mark: mark})
		if err != nil {
			t.Fatal(err)
		}
		wantVolumes(t, b)
		makeVolume(t, b, backends.VolumeName([]string{"v1", "v2"}[i]))
		commit(t, b, backends.ImageVolumeID([]string{"e-1", "e-2"}[i]))
		must(t, b.Close())
	}
}

// What is on disk says it all: another process finds it as it was left.
func TestReopenFindsEverything(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		b := fs.open(t, dir)
		committed := commit(t, b, "e-1")
		made := makeVolume(t, b, "v")
		must(t, b.Close())
		b = fs.open(t, dir)
		for got, err := range b.ListImageVolumes(t.Context()) {
			must(t, err)
			if got.ID != committed.ID || got.HeldBytes != committed.HeldBytes || got.Description.EntryID != committed.Description.EntryID {
				t.Errorf("got image-volume %+v, want %+v", got, committed)
			}
		}
		got, err := b.StatVolume(t.Context(), "v")
		if made.HeldBytes = got.HeldBytes; err != nil || got != made {
			t.Errorf("got volume %+v, %v, want %+v", got, err, made)
		}
	})
}

// A long description does not fit into an attribute on ext4.
func TestALongDescriptionIsKept(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		b := fs.open(t, dir)
		d := backends.Description{EntryID: "e"}
		for range 200 {
			d.ImageIDs = append(d.ImageIDs, "library:"+strings.Repeat("x", 100))
		}
		st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: 4096})
		must(t, err)
		_, err = st.Commit(t.Context(), d)
		must(t, err)
		must(t, b.Close())
		b = fs.open(t, dir)
		for v, err := range b.ListImageVolumes(t.Context()) {
			if err != nil || !slices.Equal(v.Description.ImageIDs, d.ImageIDs) {
				t.Errorf("got %d image IDs, %v, want %d", len(v.Description.ImageIDs), err, len(d.ImageIDs))
			}
		}
		_, err = b.Retire(t.Context(), "e-1")
		must(t, err)
		wantEmpty(t, filepath.Join(dir, ".clonecache"))
	})
}

func open(tb testing.TB, path string) *file.Backend {
	tb.Helper()
	return filesystem{take: all}.open(tb, path)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func volumeSpec(name backends.VolumeName) backends.VolumeSpec {
	return backends.VolumeSpec{Name: name, SizeBytes: 4 << 20, Token: "token-" + string(name)}
}

func makeVolume(tb testing.TB, b *file.Backend, name backends.VolumeName) backends.Volume {
	tb.Helper()
	st, err := b.CreateVolume(tb.Context(), volumeSpec(name))
	must(tb, err)
	_, err = st.WriteAt([]byte(name), 4096)
	must(tb, err)
	v, err := st.Commit(tb.Context())
	must(tb, err)
	return v
}

// commit makes an image-volume of 1 MiB with its ID in it.
func commit(tb testing.TB, b backends.Store, id backends.ImageVolumeID) backends.ImageVolume {
	tb.Helper()
	st, err := b.Stage(tb.Context(), backends.StageSpec{ID: id, VirtualBytes: 1 << 20})
	must(tb, err)
	_, err = st.WriteAt([]byte(id), 4096)
	must(tb, err)
	v, err := st.Commit(tb.Context(), backends.Description{EntryID: words.EntryID("entry of " + id)})
	must(tb, err)
	return v
}

func wantVolumes(tb testing.TB, b *file.Backend, want ...backends.VolumeName) {
	tb.Helper()
	var got []backends.VolumeName
	for v, err := range b.ListVolumes(tb.Context()) {
		must(tb, err)
		got = append(got, v.Name)
	}
	if !slices.Equal(got, want) {
		tb.Errorf("got volumes %q, want %q", got, want)
	}
}

// wantEmpty complains if there is any file but the lock and the store's ID below dir.
func wantEmpty(tb testing.TB, dir string) {
	tb.Helper()
	must(tb, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !slices.Contains([]string{"lock", "store-id"}, entry.Name()) {
			tb.Errorf("%s was left", path)
		}
		return err
	}))
}
