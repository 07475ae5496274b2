//go:build !databases

package catalog

import (
	"path/filepath"
	"testing"
)

// anew is a new catalog, of which nothing is there yet: a SQLite file. With the tag databases the same tests take the
// servers'.
func anew(t testing.TB) Config {
	t.Helper()
	return inFile(filepath.Join(t.TempDir(), "catalog.db"))
}

// unsynced makes what is written fast: nothing is killed in the test.
func unsynced(t testing.TB, c *Catalog) {
	t.Helper()
	if _, err := c.writer.ExecContext(t.Context(), `PRAGMA synchronous = OFF`); err != nil {
		t.Fatal(err)
	}
}

func runTests(m *testing.M) int { return m.Run() }
