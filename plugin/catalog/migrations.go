package catalog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/clonecache/clonecache/plugin/failpoint"
)

// migrationFiles holds the schema's steps, a folder a dialect. A file is never changed once it landed. Daemons of the step
// before go on beside a new one, until each of them is upgraded: a step only adds, and what it adds, they may leave alone. One that
// cannot be so skips a number, and they refuse it.
//
//go:embed migrations
var migrationFiles embed.FS

// migrate applies the steps that are missing, each in a transaction with its version. Where another
// process does the same at the same time, the loser of a step fails on what the winner made, and finds
// it applied when it tries again: it cannot lose more often than there are steps.
func (c *Catalog) migrate(ctx context.Context, files fs.FS) error {
	folder, err := fs.Sub(files, c.dialect.migrations)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(c.dialect.goose, c.writer, folder,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	steps := p.ListSources()
	if err := c.applyAll(ctx, p, len(steps)+2); err != nil { // one more for the table of versions
		return notMigrated(err)
	}
	version, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	if newest := steps[len(steps)-1].Version; version > newest {
		return newerSchema(version, newest)
	}
	return nil
}

// notMigrated says what helps where the server's settings are in the way. ErrSchema then.
func notMigrated(err error) error {
	if numberOf(err) == triggersNeedSuper {
		return fmt.Errorf("%w, and it cannot be made: MariaDB writes a binary log, and refuses triggers to this user: say SET GLOBAL log_bin_trust_function_creators = ON on each of its nodes as an administrator, and repeat this (%w)", ErrSchema, err)
	}
	return fmt.Errorf("migrate: %w", err)
}

func newerSchema(version, newest int64) error {
	return fmt.Errorf("%w: its schema is version %d, from a newer clonecache; this one knows up to %d: install that one", ErrSchema, version, newest)
}

// Migrated is what Migrate has done: the schema's versions before and after; 0: there was none.
type Migrated struct{ From, To int64 }

// Migrate brings the schema of a catalog up to date, or makes it. On a server, daemons of the step before may run meanwhile, but not on
// a Galera cluster, and they start on the new schema; those of older ones must not run. A process that dies in it leaves the steps that were done; the next Migrate goes on.
// ErrSchema: it is newer than this program. ErrUnavailable, ErrDamaged.
func Migrate(ctx context.Context, cfg Config) (done Migrated, err error) {
	place, err := ParseURL(cfg.URL)
	if err != nil {
		return Migrated{}, fmt.Errorf("migrate catalog: %w", err)
	}
	op := "migrate catalog " + place.String()
	cfg.migrates = true
	c, err := connectTo(place, cfg)
	if err != nil {
		return Migrated{}, fmt.Errorf("%s: %w", op, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if done.From, err = c.version(ctx); err != nil {
		return Migrated{}, c.wrap(op, err)
	}
	if err := c.migrate(ctx, migrationFiles); err != nil {
		return Migrated{}, c.wrap(op, err)
	}
	done.To, err = c.version(ctx)
	return done, c.wrap(op, err)
}

const selectVersion = `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`

// version is that of the schema; 0: there is none.
func (c *Catalog) version(ctx context.Context) (version int64, err error) {
	err = c.repeat(ctx, func() error { return c.writer.QueryRowContext(ctx, selectVersion).Scan(&version) })
	if err != nil && c.dialect.noTable(err) {
		return 0, nil
	}
	return version, err
}

// fitting tells whether this program can use the schema: it is its own, or the next one. ErrSchema.
func (c *Catalog) fitting(ctx context.Context) error {
	version, err := c.version(ctx)
	if err != nil {
		return err
	}
	newest, err := c.dialect.newest()
	switch {
	case err != nil:
		return err
	case version > newest+1:
		return newerSchema(version, newest)
	case version == 0:
		return fmt.Errorf("%w: there is none in this database yet: make it with `clonecache catalog migrate --config FILE`, or bring a catalog along with `clonecache catalog copy`", ErrSchema)
	case version == newest-1:
		return fmt.Errorf("%w: its schema is version %d, this clonecache needs %d: run `clonecache catalog migrate --config FILE` (daemons of the version before may go on, but on a Galera cluster stop them meanwhile)", ErrSchema, version, newest)
	case version < newest:
		return fmt.Errorf("%w: its schema is version %d, this clonecache needs %d: stop the daemons that use it and run `clonecache catalog migrate --config FILE`", ErrSchema, version, newest)
	}
	return nil
}

// newest is the version of a dialect's last step.
func (d dialect) newest() (int64, error) {
	names, err := fs.Glob(migrationFiles, d.migrations+"/*.sql")
	if err != nil || len(names) == 0 {
		return 0, errors.Join(err, errors.New("no schema"))
	}
	return goose.NumericComponent(path.Base(names[len(names)-1]))
}

// migrateFor bounds how long Migrate waits for moments in which daemons let it change a table.
const migrateFor = 2 * time.Minute

// applyAll applies the missing steps, in so many tries at most, in which those are not counted that had to give way to others.
func (c *Catalog) applyAll(ctx context.Context, p *goose.Provider, tries int) error {
	for began := time.Now(); ; {
		err := applyEach(ctx, p)
		if err == nil || ctx.Err() != nil || c.failed(err) == damaged {
			return err
		}
		if c.failed(err) != conflicting {
			tries--
		}
		if tries == 0 || time.Since(began) > migrateFor {
			return err
		}
		select {
		case <-time.After(mostPause/2 + rand.N(mostPause)):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// applyEach applies the missing steps one after another; the process may die between any two.
func applyEach(ctx context.Context, p *goose.Provider) error {
	for {
		_, err := p.UpByOne(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		if err != nil {
			return err
		}
		failpoint.Reached(failpoint.Migrate)
	}
}
