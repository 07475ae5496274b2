package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
)

// A store whose filesystem is not mounted is not made anew in its place.
func TestADirectoryThatIsNotTheStoreItWasIsRefused(t *testing.T) {
	for kind, open := range map[string]func(path, record string) (interface{ Close() error }, error){
		"backend": func(path, record string) (interface{ Close() error }, error) {
			return file.Open(t.Context(), file.Config{Name: "local", Path: path, Record: record})
		},
		"file cache": func(path, record string) (interface{ Close() error }, error) {
			return filecache.Open(t.Context(), filecache.Config{Name: "files", Path: path, Record: record})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			path, record := filepath.Join(dir, "volumes"), filepath.Join(dir, "state", "stores", "local")
			reopen := func(record string) {
				t.Helper()
				s, err := open(path, record)
				must(t, err)
				must(t, s.Close())
			}
			refused := func() {
				t.Helper()
				_, err := open(path, record)
				if !errors.Is(err, backends.ErrUnavailable) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove "+record) {
					t.Errorf("got error %v, want one that says what to do", err)
				}
			}
			reopen("") // of a program that kept no record
			reopen(record)
			reopen(record)
			must(t, os.Rename(path, path+".away"))
			refused()
			must(t, os.Mkdir(path, 0o755))
			refused()
			if left, err := os.ReadDir(path); err != nil || len(left) != 0 {
				t.Errorf("made in the mount point: %v, %v", left, err)
			}
			reopen("") // others use it
			refused()
			must(t, os.RemoveAll(path))
			must(t, os.Rename(path+".away", path))
			reopen(record)
			must(t, os.Remove(record))
			must(t, os.RemoveAll(path))
			reopen(record)
		})
	}
}
