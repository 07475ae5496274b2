package filecache_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/filecache"
)

func open(tb testing.TB, path string) *filecache.Cache {
	tb.Helper()
	c, err := filecache.Open(tb.Context(), filecache.Config{Name: "files", Path: path})
	must(tb, err)
	tb.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			tb.Error(err)
		}
	})
	return c
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	places := map[string]func(testing.TB) string{
		"xfs":                 func(tb testing.TB) string { return fstest.Mount(tb, fstest.XFS, 512<<20) },
		"btrfs":               func(tb testing.TB) string { return fstest.Mount(tb, fstest.Btrfs, 512<<20) },
		"ext4":                func(tb testing.TB) string { return fstest.Mount(tb, fstest.Ext4, 256<<20) },
		"temporary directory": func(tb testing.TB) string { return tb.TempDir() },
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			dir := place(t)
			backendtest.RunStore(t, func(tb testing.TB) backends.Store {
				path, err := os.MkdirTemp(dir, "")
				must(tb, err)
				tb.Cleanup(func() { _ = os.RemoveAll(path) })
				return open(tb, path)
			})
		})
	}
}

// A whole filesystem may be the cache's, with the lost+found that mkfs made.
func TestAFreshFilesystemIsTaken(t *testing.T) {
	c := open(t, fstest.Mount(t, fstest.Ext4, 32<<20))
	if i := c.Info(); i.Kind != "filecache" || i.CanClone || i.NoClone == "" {
		t.Errorf("got %+v", i)
	}
}

func TestADirectoryWithOthersFilesIsRefused(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "volume-1")
	must(t, os.WriteFile(foreign, []byte("data"), 0o600))
	_, err := filecache.Open(t.Context(), filecache.Config{Name: "files", Path: dir})
	if !errors.Is(err, backends.ErrNotOurs) {
		t.Errorf("got error %v, want %v", err, backends.ErrNotOurs)
	}
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != 1 {
		t.Errorf("got %v, %v, want the directory as it was", found, err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := filecache.Open(t.Context(), filecache.Config{Name: "files", Path: dir}); !errors.Is(err, backends.ErrInUse) {
		t.Errorf("got error %v, want %v", err, backends.ErrInUse)
	}
}

// image says what to commit.
type image struct {
	id      backends.ImageVolumeID
	image   string
	form    backends.Form
	created time.Time
}

func commit(t *testing.T, c *filecache.Cache, i image) {
	t.Helper()
	st, err := c.Stage(t.Context(), backends.StageSpec{ID: i.id, VirtualBytes: 4096})
	must(t, err)
	_, err = st.WriteAt([]byte(i.id), 0)
	must(t, err)
	_, err = st.Commit(t.Context(), backends.Description{ImageIDs: []string{i.image}, Form: i.form, CreatedAt: i.created})
	must(t, err)
}

// links reads where the links of by-image lead, by the content of what is there.
func links(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := os.ReadDir(filepath.Join(dir, "by-image"))
	must(t, err)
	got := map[string]string{}
	for _, entry := range found {
		content, err := os.ReadFile(filepath.Join(dir, "by-image", entry.Name()))
		if err != nil {
			t.Errorf("link %s: %v", entry.Name(), err)
		}
		got[entry.Name()] = strings.TrimRight(string(content), "\x00")
	}
	return got
}

func wantLinks(t *testing.T, when, dir string, want map[string]string) {
	t.Helper()
	got := links(t, dir)
	if len(got) != len(want) {
		t.Errorf("%s: got links %v, want %v", when, got, want)
	}
	for name, id := range want {
		if got[name] != id {
			t.Errorf("%s: %s leads to %q, want %q", when, name, got[name], id)
		}
	}
}

func TestLinksNameWhatIsCommitted(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	const name = "library:debian-12.qcow2"
	at := func(day int) time.Time { return time.Date(2025, 1, day, 0, 0, 0, 0, time.UTC) }
	commit(t, c, image{"new-1", name, backends.Decoded, at(2)})
	commit(t, c, image{"old-1", name, backends.Decoded, at(1)})
	commit(t, c, image{"source-1", name, backends.Source, at(1)})
	commit(t, c, image{"web-1", "web:a/../b", backends.Decoded, at(1)})
	commit(t, c, image{"long-1", "web:" + strings.Repeat("x", 300), backends.Decoded, at(1)})
	got := links(t, dir)
	if got[name] != "new-1" || got[name+".source"] != "source-1" || got["web:a%2F..%2Fb"] != "web-1" || len(got) != 4 {
		t.Errorf("got links %v", got)
	}
	for _, id := range []backends.ImageVolumeID{"new-1", "source-1", "web-1", "long-1"} {
		_, err := c.Retire(t.Context(), id)
		must(t, err)
	}
	wantLinks(t, "after the newest was retired", dir, map[string]string{name: "old-1"})
	_, err := c.Retire(t.Context(), "old-1")
	must(t, err)
	wantLinks(t, "after all were retired", dir, nil)
}

func TestOpenPutsLinksRight(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	commit(t, c, image{id: "e-1", image: "library:a"})
	commit(t, c, image{id: "e-2", image: "library:b"})
	must(t, c.Close())
	link := func(name string) string { return filepath.Join(dir, "by-image", name) }
	must(t, os.Remove(link("library:a")))
	must(t, os.Symlink("../image-volumes/gone-1", link("library:gone")))
	must(t, os.Remove(link("library:b")))
	must(t, os.WriteFile(link("library:b"), []byte("my own"), 0o600))
	open(t, dir)
	wantLinks(t, "after Open", dir, map[string]string{"library:a": "e-1", "library:b": "my own"})
}

func TestACopyGoesOnWhileItsImageIsRetired(t *testing.T) {
	c := open(t, t.TempDir())
	commit(t, c, image{id: "e-1", image: "library:a"})
	f, v, err := c.OpenImage(t.Context(), "e-1")
	must(t, err)
	defer f.Close()
	if _, err := c.Retire(context.WithoutCancel(t.Context()), "e-1"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, v.VirtualBytes)
	if _, err := f.ReadAt(got, 0); err != nil || string(got[:3]) != "e-1" {
		t.Errorf("read %q, %v", got[:3], err)
	}
}
