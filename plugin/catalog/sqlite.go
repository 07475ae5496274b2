package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// busyMillis is how long a writer waits for a writer in another process.
	busyMillis = "20000"
	// readConns bounds concurrent readers.
	readConns = 4
	// writerParams make each commit durable, and keep the log from staying as long as it ever was.
	writerParams = "_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_pragma=journal_size_limit(67108864)"
	// everyParams are of all connections. What SQLite puts aside while a statement runs stays in memory: a daemon may be able to
	// write to its own directories alone, or have a full /tmp, and what a statement changes is small.
	everyParams = "_busy_timeout=" + busyMillis + "&_foreign_keys=1&_dqs=0&_pragma=temp_store(memory)"
	// minPage is SQLite's smallest page (sqlite.org/fileformat.html); a database has one at least.
	minPage = 512
)

// sqliteDialect is the embedded default. A write transaction begins with the file's write lock, so that
// it is alone without locking rows.
var sqliteDialect = dialect{
	goose:      goose.DialectSQLite3,
	migrations: "migrations/sqlite",
	now:        `SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)`,
	check:      `PRAGMA integrity_check(20)`,
	ending:     `substr(e.id, -length(?)) = ?`,
	contains:   holds("instr"),
	through:    func(index string) string { return " INDEXED BY " + index },
	superseded: `superseded_at > 0`,
	current:    `superseded_at = 0`,
	reading:    sql.LevelSerializable,
	writing:    sql.LevelSerializable,
	streams:    true,
	rewrite:    unchanged,
	upsert:     onConflict(nil),
	failed:     sqliteFailed,
	noTable:    func(err error) bool { return strings.Contains(err.Error(), "no such table") },
	undecided:  func(error) bool { return false },
}

// sqliteFailed goes by SQLite's result codes (sqlite.org/rescode.html): the low byte is the primary one.
func sqliteFailed(err error) failure {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return other
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return damaged
	case sqlite3.SQLITE_BUSY:
		return unavailable
	}
	return other
}

// openSQLite opens the catalog in a file, and brings its schema up to date.
func openSQLite(ctx context.Context, place Place, cfg Config, migrations fs.FS) (*Catalog, error) {
	c, err := connectFile(place, cfg)
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", place.path, err)
	}
	if err := c.migrate(ctx, migrations); err != nil {
		return nil, errors.Join(c.wrap("open catalog "+place.path, err), c.Close())
	}
	return c, nil
}

// connectFile makes the file where it is not there; its schema is as it was.
func connectFile(place Place, cfg Config) (*Catalog, error) {
	path, err := createFile(place.path)
	if err != nil {
		return nil, err
	}
	c := &Catalog{now: cfg.Now, place: place, dialect: sqliteDialect, maxEvents: cfg.MaxEvents, evictor: cfg.evictor(), evictFor: cfg.LeaseFor}
	if c.writer, err = sql.Open("sqlite", sqliteURI(path, writerParams)); err != nil {
		return nil, err
	}
	c.writer.SetMaxOpenConns(1)
	if c.readers, err = sql.Open("sqlite", sqliteURI(path, "_query_only=1")); err != nil {
		return nil, errors.Join(err, c.writer.Close())
	}
	c.readers.SetMaxOpenConns(readConns)
	c.readers.SetMaxIdleConns(readConns)
	return c, nil
}

// createFile makes the file if it is not there, readable by the owner and its group only, with its name
// durable. SQLite gives the files beside it the same mode. It would take a stub for an empty file and
// write over it, so that is refused here. ErrDamaged.
func createFile(path string) (string, error) {
	if path == "" {
		return "", errors.New("no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if size := info.Size(); 0 < size && size < minPage {
		return "", fmt.Errorf("%w: it is %d bytes long", ErrDamaged, size)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return path, dir.Sync()
}

func sqliteURI(path, params string) string {
	u := url.URL{
		Scheme:   "file",
		Path:     path,
		RawQuery: everyParams + "&" + params,
	}
	return u.String()
}
