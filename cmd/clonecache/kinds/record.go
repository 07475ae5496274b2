package kinds

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
)

// storeRecord is the file that remembers which store was in a directory: one whose filesystem is not mounted is
// not taken for an empty one. It goes by the path, since names change.
func storeRecord(stateDir string, path config.Path) string {
	const longest = 200 // bytes; a file's name has at most 255
	name := url.PathEscape(string(path))
	if len(name) > longest {
		name = fmt.Sprintf("sha256=%x", sha256.Sum256([]byte(path)))
	}
	return filepath.Join(stateDir, "stores", name)
}

// formerRecord is where older versions kept it.
func formerRecord(stateDir string, name backends.Name) string {
	return filepath.Join(stateDir, "stores", string(name))
}

// knownRecord is the record that there is of a store: perhaps the one of an older version.
func knownRecord(stateDir string, name backends.Name, path config.Path) string {
	now := storeRecord(stateDir, path)
	if _, err := os.Lstat(now); errors.Is(err, fs.ErrNotExist) {
		return formerRecord(stateDir, name)
	}
	return now
}

// keepRecord is storeRecord, and brings there what older versions kept by the store's name.
func keepRecord(stateDir string, name backends.Name, path config.Path) (string, error) {
	now := storeRecord(stateDir, path)
	if _, err := os.Lstat(now); !errors.Is(err, fs.ErrNotExist) {
		return now, err
	}
	err := os.Rename(formerRecord(stateDir, name), now)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return now, err
}
