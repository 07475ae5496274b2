package rawfile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// place makes a Place with the features of the temporary directory, less what take takes away.
func place(t *testing.T, take func(*rawfile.Features)) *rawfile.Place {
	t.Helper()
	base := t.TempDir()
	for _, dir := range []string{"files", "staging", "stamps"} {
		must(t, os.Mkdir(filepath.Join(base, dir), 0o700))
	}
	features, err := rawfile.Probe(base)
	must(t, err)
	take(&features)
	p, err := rawfile.OpenPlace(rawfile.PlaceConfig{
		Dir: filepath.Join(base, "files"), Staging: filepath.Join(base, "staging"), Features: features,
		Stamps: rawfile.Stamps{Xattrs: features.Xattrs, Side: filepath.Join(base, "stamps")},
	})
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

var features = map[string]func(*rawfile.Features){
	"all features":      func(*rawfile.Features) {},
	"no O_TMPFILE":      func(f *rawfile.Features) { f.Unnamed = false },
	"no xattrs":         func(f *rawfile.Features) { f.Xattrs = false },
	"neither of them":   func(f *rawfile.Features) { f.Unnamed, f.Xattrs = false, false },
	"ordered, for once": func(f *rawfile.Features) { f.OrderedMetadata = true },
}

func TestADraftAppearsWholeOrNotAtAll(t *testing.T) {
	for name, take := range features {
		t.Run(name, func(t *testing.T) {
			p := place(t, take)
			d, err := p.Draft(rawfile.DraftSpec{Staged: "s", Mode: 0o600})
			must(t, err)
			_, err = d.WriteAt([]byte("content"), 0)
			must(t, err)
			must(t, d.Stamp([]byte("record")))
			if there, err := p.Exists("f"); there || err != nil {
				t.Errorf("before it is published: got %t, %v", there, err)
			}
			must(t, d.PublishReflinked("f"))
			must(t, d.Discard()) // closes it only
			f, info, err := p.Open("f")
			must(t, err)
			defer f.Close()
			record, err := p.Stamps().Get(f)
			if err != nil || string(record) != "record" || info.Size() != 7 {
				t.Errorf("got record %q, %v, and %d bytes", record, err, info.Size())
			}
			must(t, p.Remove("f", f))
			if record, err := p.Stamps().Get(f); err == nil && string(record) != "record" || err != nil && !errors.Is(err, backends.ErrNotExist) {
				t.Errorf("of the open file that was removed: got record %q, %v; want the record or %v", record, err, backends.ErrNotExist)
			}
			if _, _, err := p.Open("f"); !errors.Is(err, backends.ErrNotExist) {
				t.Errorf("after it was removed: got error %v, want %v", err, backends.ErrNotExist)
			}
			wantNoFiles(t, p)
		})
	}
}

func TestATakenNameIsNotReplaced(t *testing.T) {
	for name, take := range features {
		t.Run(name, func(t *testing.T) {
			p := place(t, take)
			must(t, os.WriteFile(p.Path("f"), []byte("old"), 0o600))
			d, err := p.Draft(rawfile.DraftSpec{Staged: "s", Mode: 0o600})
			must(t, err)
			must(t, d.Stamp([]byte("record")))
			if err := d.PublishWritten("f"); !errors.Is(err, backends.ErrExist) {
				t.Errorf("got error %v, want %v", err, backends.ErrExist)
			}
			must(t, d.Discard())
			must(t, d.Discard())
			if got, err := os.ReadFile(p.Path("f")); string(got) != "old" || err != nil {
				t.Errorf("got %q, %v, want it as it was", got, err)
			}
			must(t, os.Remove(p.Path("f")))
			wantNoFiles(t, p)
		})
	}
}

// wantNoFiles complains if there is a file in any of the place's directories.
func wantNoFiles(t *testing.T, p *rawfile.Place) {
	t.Helper()
	must(t, filepath.WalkDir(filepath.Dir(filepath.Dir(p.Path("x"))), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			t.Errorf("%s was left", path)
		}
		return err
	}))
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	p := place(t, features["all features"])
	must(t, os.Symlink("/etc/passwd", p.Path("link")))
	must(t, syscall.Mkfifo(p.Path("pipe"), 0o600))
	must(t, os.Mkdir(p.Path("directory"), 0o700))
	for _, name := range []string{"link", "pipe", "directory"} {
		if _, _, err := p.Open(name); !errors.Is(err, backends.ErrNotOurs) {
			t.Errorf("%s: got error %v, want %v", name, err, backends.ErrNotOurs)
		}
	}
}

func TestStampsOfOtherFilesAreSweptOnly(t *testing.T) {
	p := place(t, features["no xattrs"])
	for _, name := range []string{"kept", "gone"} {
		d, err := p.Draft(rawfile.DraftSpec{Staged: "s", Mode: 0o600})
		must(t, err)
		must(t, d.Stamp([]byte(name)))
		must(t, d.PublishWritten(name))
		must(t, d.Close())
	}
	must(t, os.Remove(p.Path("gone")))
	must(t, p.Stamps().Sweep(func() (map[string]bool, error) { return rawfile.Identities(filepath.Dir(p.Path("x"))) }))
	f, _, err := p.Open("kept")
	must(t, err)
	defer f.Close()
	if record, err := p.Stamps().Get(f); err != nil || string(record) != "kept" {
		t.Errorf("got %q, %v", record, err)
	}
	if left, err := os.ReadDir(p.Stamps().Side); err != nil || len(left) != 1 {
		t.Errorf("got side files %v, %v, want 1", left, err)
	}
}

func TestACopyEndsWithItsContext(t *testing.T) {
	const size = 64 << 20
	src, err := os.Create(filepath.Join(t.TempDir(), "src"))
	must(t, err)
	defer src.Close()
	for off := int64(0); off < size; off += 16 << 20 {
		_, err := src.WriteAt([]byte("data"), off)
		must(t, err)
	}
	must(t, src.Truncate(size))
	dst, err := os.CreateTemp("/dev/shm", "copy-") // on another filesystem, so that it is no reflink
	if err != nil {
		t.Skipf("no filesystem in memory: %v", err)
	}
	defer os.Remove(dst.Name())
	defer dst.Close()
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	_, err = rawfile.Copy(ctx, dst, src, func(int64) { calls++; cancel() })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("got error %v after %d pieces, want %v after 1", err, calls, context.Canceled)
	}
}

func TestExplain(t *testing.T) {
	for _, row := range []struct {
		err, want error
	}{
		{nil, nil},
		{syscall.ENOSPC, backends.ErrNoSpace},
		{syscall.EDQUOT, backends.ErrNoSpace},
		{syscall.EROFS, backends.ErrUnavailable},
		{syscall.EMFILE, backends.ErrUnavailable},
		{&os.PathError{Op: "open", Path: "p", Err: syscall.ENOENT}, backends.ErrNotExist},
		{&os.PathError{Op: "link", Path: "p", Err: syscall.EEXIST}, backends.ErrExist},
	} {
		once := rawfile.Explain(row.err)
		if !errors.Is(once, row.want) || !errors.Is(once, row.err) {
			t.Errorf("%v: got %v, want it to be %v as well", row.err, once, row.want)
		}
		if twice := rawfile.Explain(once); fmt.Sprint(twice) != fmt.Sprint(once) {
			t.Errorf("explained twice: got %v, want %v", twice, once)
		}
	}
}
