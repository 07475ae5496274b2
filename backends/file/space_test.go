package file_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// stageConcurrently writes an image-volume as a decoder does: 8 writers, pieces of 1 to 4 MiB, roughly
// but not quite in order.
func stageConcurrently(tb testing.TB, b *file.Backend, id backends.ImageVolumeID, size int64) backends.ImageVolume {
	tb.Helper()
	st, err := b.Stage(tb.Context(), backends.StageSpec{ID: id, VirtualBytes: size})
	must(tb, err)
	pieces := make(chan [2]int64, 64)
	var writers sync.WaitGroup
	data := bytes.Repeat([]byte("clonecache"), (4<<20)/10+1)
	for range 8 {
		writers.Go(func() {
			for piece := range pieces {
				if _, err := st.WriteAt(data[:piece[1]], piece[0]); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	var held [2]int64 // one piece is held back, and so comes late
	for off := int64(0); off < size; {
		n := min(1<<20+random.Int64N(3<<20)&^4095, size-off)
		piece := [2]int64{off, n}
		if off += n; held[1] == 0 {
			held = piece
			continue
		}
		if random.IntN(3) == 0 {
			piece, held = held, piece
		}
		pieces <- piece
	}
	if held[1] > 0 {
		pieces <- held
	}
	close(pieces)
	writers.Wait()
	v, err := st.Commit(tb.Context(), backends.Description{EntryID: "e"})
	must(tb, err)
	return v
}

// The price of a clone is in extents: 17 µs each.
func TestAnImageVolumeHasFewExtents(t *testing.T) {
	const size = 256 << 20
	for kind, most := range map[fstest.Kind]int{fstest.XFS: 16, fstest.Btrfs: 32, fstest.Ext4: 64} {
		t.Run(string(kind), func(t *testing.T) {
			b := open(t, fstest.Mount(t, kind, 2<<30))
			v := stageConcurrently(t, b, "e-1", size)
			f, _, err := b.OpenImage(t.Context(), v.ID)
			must(t, err)
			defer f.Close()
			got := fstest.Extents(t, f.Name())
			t.Logf("%d extents for %d MiB", got, size>>20)
			if got > most {
				t.Errorf("got %d extents, want at most %d", got, most)
			}
		})
	}
}

// Holes stay holes in copies, whichever way they are made.
func TestCopiesKeepHoles(t *testing.T) {
	const size, data = 16 << 20, 1 << 20
	on(t, func(t *testing.T, fs filesystem, dir string) {
		b := fs.open(t, dir)
		for method, source := range map[string]string{"same-filesystem": dir, "another-filesystem": t.TempDir(), "memory": shm(t)} {
			src, err := os.CreateTemp(source, ".source-")
			must(t, err)
			defer src.Close()
			_, err = src.WriteAt(bytes.Repeat([]byte{7}, data), 8<<20)
			must(t, err)
			must(t, src.Truncate(size))
			spec := backends.VolumeSpec{Name: backends.VolumeName(method), SizeBytes: 2 * size, Token: "t"}
			v, how, err := b.CopyFromFile(t.Context(), src, spec, nil)
			must(t, err)
			t.Logf("%s: %s", method, how)
			held := blocks(t, v.Path)
			if held < data || held > 2*data {
				t.Errorf("%s (%s): %d bytes are held, want about %d", method, how, held, data)
			}
			if reflinked := how == backends.CopiedByReflink; reflinked != (fs.clones && source == dir) {
				t.Errorf("%s was copied by %s", method, how)
			}
			wantSameData(t, v.Path, src, 2*size)
		}
	})
}

func shm(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "copy-")
	if err != nil {
		t.Skipf("no filesystem in memory: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func wantSameData(t *testing.T, path string, src *os.File, size int) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	want := make([]byte, size)
	if _, err := src.ReadAt(want[:size/2], 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what was copied, grown to %d bytes", path, size)
	}
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// A full filesystem is told as such, wherever it strikes, and nothing is left of what did not fit.
func TestAFullFilesystem(t *testing.T) {
	small := []filesystem{
		{"xfs", true, mounted(fstest.XFS, fstest.MinXFS), all},
		{"btrfs", true, mounted(fstest.Btrfs, fstest.MinBtrfs), all},
		{"ext4", false, mounted(fstest.Ext4, 32<<20), all},
		{"ext4 without O_TMPFILE and xattrs", false, mounted(fstest.Ext4, 32<<20), func(f *rawfile.Features) { f.Unnamed, f.Xattrs = false, false }},
	}
	for _, fs := range small {
		t.Run(fs.name, func(t *testing.T) {
			dir := fs.dir(t)
			b := fs.open(t, dir)
			before, err := b.Capacity(t.Context())
			must(t, err)
			fillUp(t, func(size int64) (backends.Stage, func() error, error) {
				st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: size})
				return st, func() error { _, err := st.Commit(t.Context(), backends.Description{}); return err }, err
			})
			fillUp(t, func(size int64) (backends.Stage, func() error, error) {
				st, err := b.CreateVolume(t.Context(), backends.VolumeSpec{Name: "v", SizeBytes: size, Token: "t"})
				return st, func() error { _, err := st.Commit(t.Context()); return err }, err
			})
			copyTooMuch(t, b)
			must(t, b.Close())
			wantEmpty(t, dir)
			b = fs.open(t, dir)
			// What was taken is free again, if not at once everywhere.
			stageConcurrently(t, b, "e-2", before.FreeBytes/2)
		})
	}
}

// fillUp writes to a stage until there is no space, and discards it.
func fillUp(t *testing.T, begin func(size int64) (backends.Stage, func() error, error)) {
	t.Helper()
	const size, piece = 1 << 30, 1 << 20
	st, commit, err := begin(size)
	must(t, err)
	data := bytes.Repeat([]byte{7}, piece)
	for off := int64(0); err == nil && off < size; off += piece {
		_, err = st.WriteAt(data, off)
	}
	if err == nil {
		err = commit()
	}
	if !errors.Is(err, backends.ErrNoSpace) {
		t.Errorf("got error %v, want %v", err, backends.ErrNoSpace)
	}
	must(t, st.Discard(t.Context()))
}

func copyTooMuch(t *testing.T, b *file.Backend) {
	t.Helper()
	src, err := os.Create(filepath.Join(shm(t), "source"))
	must(t, err)
	defer src.Close()
	const size, piece = 512 << 20, 1 << 20
	data := bytes.Repeat([]byte{7}, piece)
	for off := int64(0); off < size; off += piece {
		_, err := src.WriteAt(data, off)
		must(t, err)
	}
	_, _, err = b.CopyFromFile(t.Context(), src, backends.VolumeSpec{Name: "v", SizeBytes: size, Token: "t"}, nil)
	if !errors.Is(err, backends.ErrNoSpace) {
		t.Errorf("copy: got error %v, want %v", err, backends.ErrNoSpace)
	}
}

// A filesystem that has become read-only answers so, and what is there can be read.
func TestAReadOnlyFilesystem(t *testing.T) {
	disk := fstest.New(t, fstest.XFS, fstest.MinXFS)
	b := open(t, disk.Dir)
	commit(t, b, "e-1")
	makeVolume(t, b, "v")
	disk.Remount(t, "ro")
	_, stage := b.Stage(t.Context(), backends.StageSpec{ID: "e-2", VirtualBytes: 4096})
	_, clone := b.Clone(t.Context(), "e-1", volumeSpec("w"))
	_, retire := b.Retire(t.Context(), "e-1")
	for does, err := range map[string]error{
		"stage": stage, "clone": clone, "retire": retire,
		"delete": b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v"}),
	} {
		if !errors.Is(err, backends.ErrUnavailable) || !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: got error %v, want %v and %v", does, err, backends.ErrUnavailable, syscall.EROFS)
		}
	}
	wantVolumes(t, b, "v")
	for v, err := range b.ListImageVolumes(t.Context()) {
		if err != nil || v.ID != "e-1" || v.State != backends.Committed {
			t.Errorf("got %+v, %v", v, err)
		}
	}
}

func TestCommittedFilesCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	commit(t, open(t, dir), "e-1")
	info, err := os.Stat(filepath.Join(dir, ".clonecache/image-volumes/e-1"))
	if err != nil || info.Mode() != fs.FileMode(0o400) {
		t.Errorf("got %v, %v, want mode 0400", info, err)
	}
}

// What is written in pieces, past the page cache or through it, with holes and an end that is not
// aligned, is there as it was written, and holds no more than that.
func TestAnImageVolumeHoldsWhatWasWritten(t *testing.T) {
	const size, piece = 48<<20 + 700, 256 << 10
	on(t, func(t *testing.T, fs filesystem, dir string) {
		b := fs.open(t, dir)
		st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: size})
		must(t, err)
		want := make([]byte, size)
		var written int64
		for n := int64(0); n*piece < size; n++ {
			if n%5 == 3 || n > 40 && n < 100 {
				continue
			}
			p := want[n*piece : min((n+1)*piece, size)]
			for i := range p {
				p[i] = byte(n) + byte(i) | 1
			}
			cut := 0
			if n%7 == 2 { // in two, neither of them aligned
				cut = 1000
			}
			must(t, writeAt(st, p[:cut], n*piece))
			must(t, writeAt(st, p[cut:], n*piece+int64(cut)))
			written += int64(len(p))
		}
		v, err := st.Commit(t.Context(), backends.Description{EntryID: "e"})
		must(t, err)
		f, _, err := b.OpenImage(t.Context(), v.ID)
		must(t, err)
		defer f.Close()
		got, err := io.ReadAll(f)
		must(t, err)
		if !bytes.Equal(got, append(want, make([]byte, backends.RoundUp(size)-size)...)) {
			t.Error("the content is not what was written, and zeroes up to a whole block")
		}
		if spare := v.HeldBytes - written; spare > 1<<20 {
			t.Errorf("it holds %d bytes more than were written", spare)
		}
	})
}

func writeAt(w io.WriterAt, p []byte, off int64) error {
	_, err := w.WriteAt(p, off)
	return err
}
