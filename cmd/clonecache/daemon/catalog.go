package daemon

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// catalogAccess is where the catalog is; without a URL the SQLite file in state_dir.
func catalogAccess(cfg config.Config) catalog.Access {
	a := catalog.Access{URL: cfg.Catalog.URL, PasswordFile: string(cfg.Catalog.PasswordFile), CAFile: string(cfg.Catalog.CAFile)}
	if a.URL == "" {
		a.URL = catalog.InDir(string(cfg.StateDir))
	}
	return a
}

// MigrateCatalog brings the schema of the configured catalog up to date, and returns its URL. A SQLite catalog has one
// daemon, whose state_dir is locked meanwhile (plugin.ErrLocked: it runs); those of a server are the caller's to stop.
func MigrateCatalog(ctx context.Context, cfg config.Config) (url string, done catalog.Migrated, err error) {
	access := catalogAccess(cfg)
	place, err := catalog.ParseURL(access.URL)
	if err != nil {
		return "", done, err
	}
	if !place.Server() {
		lock, err := plugin.LockState(string(cfg.StateDir))
		if err != nil {
			return "", done, err
		}
		defer func() { err = errors.Join(err, lock.Unlock()) }()
	}
	done, err = catalog.Migrate(ctx, catalog.Config{Access: access})
	return place.String(), done, err
}
