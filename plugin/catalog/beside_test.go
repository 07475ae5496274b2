//go:build databases

package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
)

// nextStep is the schema's steps of a dialect and one more, so many numbers later, of the kind that programs without it go on beside.
func nextStep(t *testing.T, d dialect, later int64) fs.FS {
	t.Helper()
	newest, err := d.newest()
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	names, err := fs.Glob(migrationFiles, d.migrations+"/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(migrationFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	files[fmt.Sprintf("%s/%05d_next.sql", d.migrations, newest+later)] = &fstest.MapFile{Data: []byte(`-- +goose Up
ALTER TABLE entries ADD COLUMN IF NOT EXISTS of_the_next BIGINT NOT NULL DEFAULT 7;
UPDATE entries SET of_the_next = 8 WHERE state = 'ready';
CREATE TABLE IF NOT EXISTS of_the_next (n BIGINT NOT NULL PRIMARY KEY);
CREATE INDEX IF NOT EXISTS entries_of_the_next ON entries (of_the_next);
`)}
	return files
}

// ownDatabase is a catalog's database that other tests do not get.
func ownDatabase(t *testing.T, name string) Config {
	t.Helper()
	database := fmt.Sprintf("clonecache_test_%d_%s", os.Getpid(), name)
	if err := administer(t.Context(), "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := administer(context.WithoutCancel(t.Context()), "DROP DATABASE "+database); err != nil {
			t.Error(err)
		}
	})
	cfg := onServer(database)
	if _, err := Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// fillOne does what a fill and those around it do.
func fillOne(ctx context.Context, c *Catalog, key Key) error {
	e, _, _, err := c.BeginFill(ctx, spec(key))
	if err != nil {
		return err
	}
	_, err = c.ReserveRoom(ctx, e.ID, e.Attempt, 10, func(Holdings) (map[EntryID]EvictCause, error) { return nil, nil })
	if err != nil {
		return err
	}
	if err := c.RecordStage(ctx, e.ID, e.Attempt, "iv", "decoded", 40); err != nil {
		return err
	}
	if _, _, err := c.Publish(ctx, e.ID, e.Attempt, published(key, 10)); err != nil {
		return err
	}
	if _, err = c.Find(ctx, "local", spec(key).Domain, key); err != nil {
		return err
	}
	_, err = c.List(ctx, Filter{Store: "local"})
	return err
}

// Daemons are upgraded one after another: those without the next step work while it is made and after it, and start on it. On
// a Galera cluster they stand still while it is made, and one alone fills before it: there a thread that gives way while it reads a
// trigger leaves that broken for all (seen with MariaDB 10.11: error 1064, "Trigger has an error in its body"), as in a new database.
func TestAProgramGoesOnBesideTheNextStep(t *testing.T) {
	cfg := ownDatabase(t, "next")
	c := open(t, cfg, nil)
	var stop atomic.Bool
	var filled atomic.Int64
	var all, begun sync.WaitGroup
	fillers := 4
	if len(c.place.hosts) > 1 {
		fillers = 1
	}
	for n := range fillers {
		begun.Add(1)
		all.Go(func() {
			first := sync.OnceFunc(begun.Done)
			defer first()
			for i := 0; !stop.Load(); i++ {
				if err := fillOne(t.Context(), c, Key(fmt.Sprintf("k-%d-%d", n, i))); err != nil {
					t.Errorf("fill %d of %d: %v", i, n, err)
					return
				}
				filled.Add(1)
				first()
			}
		})
	}
	begun.Wait()
	if len(c.place.hosts) > 1 {
		stop.Store(true)
		all.Wait()
	}
	err := migrateTo(t, cfg, 1)
	before := filled.Load()
	stop.Store(true)
	all.Wait()
	if err != nil {
		t.Fatalf("migrate beside a daemon: %v", err)
	}
	if err := fillOne(t.Context(), c, "after"); err != nil {
		t.Errorf("a fill on the next schema: %v", err)
	}
	again := open(t, cfg, nil)
	if err := fillOne(t.Context(), again, "started after"); err != nil {
		t.Errorf("a fill of who started on the next schema: %v", err)
	}
	t.Logf("%d fills until the step was made", before)
	wrong, err := again.Miscounted(t.Context())
	if err != nil || len(wrong) > 0 {
		t.Errorf("sums: %v, %v", wrong, err)
	}
}

// migrateTo makes a step so many numbers after the newest.
func migrateTo(t *testing.T, cfg Config, later int64) error {
	t.Helper()
	place, err := ParseURL(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.migrates = true
	next, err := connect(place, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	return next.migrate(t.Context(), nextStep(t, next.dialect, later))
}

func TestAStepThatSkipsANumberIsRefused(t *testing.T) {
	cfg := ownDatabase(t, "skips")
	if err := migrateTo(t, cfg, 2); err != nil {
		t.Fatal(err)
	}
	if c, err := Open(t.Context(), cfg); !errors.Is(err, ErrSchema) {
		t.Errorf("got %v, %v, want ErrSchema", c, err)
	}
	if _, err := Migrate(t.Context(), cfg); !errors.Is(err, ErrSchema) {
		t.Errorf("migrate: got %v, want ErrSchema", err)
	}
}
