// Package catalog is what clonecache knows: one row an entry, who fills it, what it holds, who owns
// it, and what requests came to. It is SQL: SQLite embedded for one host; MariaDB, alone or as a Galera cluster, and
// PostgreSQL are dialects of the same statements for several.
//
// Every change of state is one compare-and-set that may be the last thing the process did: it is
// durable when the method returns, or has not happened. The catalog never touches a backend; it names
// image-volumes only once they are durable (state ready), or so that they can be removed.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

var (
	// ErrNotFound: there is no such entry.
	ErrNotFound = errors.New("no such entry")
	// ErrLost: the row is no longer in the state, or at the attempt, that the caller holds; another
	// process has taken over. The caller must stop what it does for this entry and discard it.
	ErrLost = errors.New("entry was taken over")
	// ErrPinned: a pinned entry is not evicted.
	ErrPinned = errors.New("entry is pinned")
	// ErrDamaged: the database cannot be read.
	ErrDamaged = errors.New("catalog is damaged")
	// ErrClosed: Close was called; whoever was in the midst of something ends with it.
	ErrClosed = errors.New("catalog is closed")
	// ErrUnavailable: the database does not answer, or others were in the way for too long. What was asked for has not
	// happened, unless the error says that this is not known. The driver's own error is wrapped beside it.
	ErrUnavailable = errors.New("catalog database is not available")
	// ErrSchema: the database has the schema of an older or a newer clonecache, or none.
	ErrSchema = errors.New("catalog has another schema")
	// ErrNotEmpty: a catalog is copied only into one that holds nothing.
	ErrNotEmpty = errors.New("catalog is not empty")
)

// The words of package words that rows are made of.
type (
	EntryID    = words.EntryID
	Key        = words.Key
	InstanceID = words.InstanceID
	State      = words.State
	EvictCause = words.EvictCause
)

// How far an entry has come.
const (
	Filling  = words.Filling
	Ready    = words.Ready
	Evicting = words.Evicting
	Detached = words.Detached
	Failed   = words.Failed
)

// Why an entry went.
const (
	CauseSize    = words.CauseSize
	CauseCount   = words.CauseCount
	CausePercent = words.CausePercent
	CauseQuota   = words.CauseQuota
	CauseFull    = words.CauseFull
	CauseAdmin   = words.CauseAdmin
	CausePrune   = words.CausePrune
	CauseGone    = words.CauseGone
	CauseStale   = words.CauseStale
)

// Access is where a catalog is, and how it is entered.
type Access struct {
	URL string // as ParseURL takes it; the directory of a SQLite file must exist
	// Of a database server. A file's last newline is no part of the password. With CAFile, a PEM file, connections are
	// encrypted and the server's certificate must be of one of its CAs; without it they are not encrypted.
	PasswordFile string
	CAFile       string
}

// Config opens a catalog.
type Config struct {
	Access
	// Daemon is whose rows of the sums on a server grow; "": a new one's.
	Daemon InstanceID
	// Incarnation is Daemon's now, and LeaseFor how long others leave to it what it has begun to evict; 0: not at all.
	Incarnation string
	LeaseFor    time.Duration
	Now         func() time.Time // nil: the database's clock
	// MaxEvents bounds the events that are kept. 0: none are.
	MaxEvents int

	migrates bool // for Migrate
}

// Catalog is the open database. It may be used from several goroutines, and several Catalogs, in one
// process or in several, may be open on the same database.
type Catalog struct {
	now     func() time.Time // nil: the database's clock
	place   Place
	dialect dialect
	writer  *sql.DB // of SQLite one connection: writers queue here, not at the file's lock
	readers *sql.DB
	latest  latest
	marks   *marks // nil: what COMMIT says is certain

	evictor   Holder        // of what is evicted here
	evictFor  time.Duration // 0: evictions are anybody's
	maxEvents int           // rows
	closed    atomic.Bool
	rehearse  bool // in tests: what is read is read twice, as where the first time has failed at its end
}

// Open opens the catalog. A SQLite file is created where it is not there, and its schema brought up to date; a process
// that dies in that leaves the old schema or the new one. An empty file counts as a new one. ErrDamaged: it cannot be
// read; OpenWhole rebuilds. On a server the schema is as Migrate left it: ErrSchema where that is another one.
// ErrUnavailable.
func Open(ctx context.Context, cfg Config) (*Catalog, error) {
	place, err := ParseURL(cfg.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("open catalog: %w", err)
	case place.Server():
		return openServer(ctx, place, cfg)
	}
	return openSQLite(ctx, place, cfg, migrationFiles)
}

// Close closes the database. What is under way ends with ErrClosed.
func (c *Catalog) Close() error {
	c.closed.Store(true)
	if c.readers == c.writer {
		return c.writer.Close()
	}
	return errors.Join(c.readers.Close(), c.writer.Close())
}

// Shared tells whether several hosts can have the catalog open.
func (c *Catalog) Shared() bool { return c.place.Server() }
