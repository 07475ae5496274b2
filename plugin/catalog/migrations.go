package catalog

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
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
		if _, err = p.Up(ctx); err == nil || ctx.Err() != nil || c.dialect.damaged(err) {
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
