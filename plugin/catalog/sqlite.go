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
	// minPage is SQLite's smallest page (sqlite.org/fileformat.html); a database has one at least.
	minPage = 512
)

// sqliteDialect is the embedded default. A write transaction begins with the file's write lock, so that
// it is alone without locking rows.
var sqliteDialect = dialect{
	goose:        goose.DialectSQLite3,
	migrations:   "migrations/sqlite",
	now:          `SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)`,
	check:        `PRAGMA integrity_check(20)`,
	placeholders: question,
	upsert:       onConflict,
	damaged:      sqliteDamaged,
}

// sqliteDamaged goes by SQLite's result codes (sqlite.org/rescode.html): the low byte is the primary one.
func sqliteDamaged(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

func openSQLite(ctx context.Context, cfg Config, migrations fs.FS) (*Catalog, error) {
	path, err := createFile(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", cfg.Path, err)
	}
	c := &Catalog{now: cfg.Now, dialect: sqliteDialect, maxEvents: cfg.MaxEvents}
	if c.writer, err = sql.Open("sqlite", sqliteURI(path, writerParams)); err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", path, err)
	}
	c.writer.SetMaxOpenConns(1)
	if c.readers, err = sql.Open("sqlite", sqliteURI(path, "_query_only=1")); err != nil {
		return nil, errors.Join(fmt.Errorf("open catalog %s: %w", path, err), c.writer.Close())
	}
	c.readers.SetMaxOpenConns(readConns)
	c.readers.SetMaxIdleConns(readConns)
	if err := c.migrate(ctx, migrations); err != nil {
		return nil, errors.Join(c.wrap("open catalog "+path, err), c.Close())
	}
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
		RawQuery: "_busy_timeout=" + busyMillis + "&_foreign_keys=1&_dqs=0&" + params,
	}
	return u.String()
}
