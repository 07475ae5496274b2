//go:build !databases

package catalog

import (
	"database/sql"
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

// SQLite makes a file in a temporary directory for a statement that changes more than 64 KiB, as the removal of a row with all
// its indexes may: where it can write to none, that failed.
func TestSQLiteNeedsNoTemporaryDirectory(t *testing.T) {
	const inMemory = 2
	c := open(t, anew(t), nil)
	for name, db := range map[string]*sql.DB{"writer": c.writer, "readers": c.readers} {
		var store int
		if err := db.QueryRowContext(t.Context(), `PRAGMA temp_store`).Scan(&store); err != nil || store != inMemory {
			t.Errorf("%s: temp_store is %d, %v, want %d", name, store, err, inMemory)
		}
	}
}
