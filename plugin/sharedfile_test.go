//go:build !databases

package plugin_test

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// newShared is a new catalog that several hosts have: a SQLite file in dir. With the tag databases the same tests take the
// servers'.
func newShared(t *testing.T, dir string) shared {
	t.Helper()
	path := filepath.Join(dir, "shared.db")
	return shared{Access: catalog.Access{URL: catalog.FileURL(path)}, driver: "sqlite", dsn: "file:" + path + "?_busy_timeout=20000"}
}
