package catalog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/clonecache/clonecache/plugin/failpoint"
)

// migrationFiles holds the schema's steps, a folder a dialect. A file is never changed once it landed.
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
	for range len(steps) + 2 { // one more for the table of versions
		if err = applyEach(ctx, p); err == nil || ctx.Err() != nil || c.dialect.damaged(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	version, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	if newest := steps[len(steps)-1].Version; version > newest {
		return fmt.Errorf("its schema is version %d, from a newer clonecache; this one knows up to %d", version, newest)
	}
	return nil
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
