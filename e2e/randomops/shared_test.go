//go:build !databases

package randomops

import (
	"path/filepath"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// hostOperations are how many operations several hosts do.
const hostOperations = 600

// hostHistories are how many histories of several hosts are checked.
const hostHistories = 6

// newShared is a new catalog that several hosts have: a SQLite file in dir. With the tag databases it is a server's.
func newShared(_ sequenced, dir string) catalog.Access {
	return catalog.Access{URL: catalog.FileURL(filepath.Join(dir, "shared.db"))}
}
