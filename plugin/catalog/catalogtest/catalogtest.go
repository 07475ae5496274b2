// Package catalogtest has new SQLite catalogs for tests. To bring a schema up to date costs a second where the race detector looks
// on, and each catalog a test begins with would cost it again.
package catalogtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// empty is the file of a catalog that was opened once and has nothing in it, not even an ID.
var empty = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "catalogtest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "catalog.db")
	c, err := catalog.Open(context.Background(), catalog.Config{Access: catalog.Access{URL: catalog.FileURL(path)}})
	if err != nil {
		return nil, err
	}
	if err := c.Close(); err != nil { // it leaves nothing beside the file
		return nil, err
	}
	return os.ReadFile(path)
})

// failer is a test, be it one of testing or of rapid.
type failer interface {
	Helper()
	Fatal(args ...any)
}

// Begin puts a new catalog at path, and makes the directory that it lies in. A file that is there stays as it is.
func Begin(t failer, path string) {
	t.Helper()
	content, err := empty()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, os.ErrExist) {
		return
	}
	if err == nil {
		_, err = f.Write(content)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// InState is Begin for the catalog of a daemon with that state_dir.
func InState(t testing.TB, stateDir string) {
	t.Helper()
	Begin(t, filepath.Join(stateDir, "catalog.db"))
}
