package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Aside is a damaged catalog that was put aside.
type Aside struct {
	Damage error  // ErrDamaged
	Path   string // of its file now; what SQLite keeps beside it has the same beginning
}

// OpenWhole opens the catalog and reads all of it. A SQLite file that cannot be read is put aside, under a name with the time
// now, and a new one is begun: who opened it rebuilds it from the backends. The files of a server are for its own keeper.
func OpenWhole(ctx context.Context, cfg Config, now time.Time) (*Catalog, *Aside, error) {
	c, err := openChecked(ctx, cfg)
	if !errors.Is(err, ErrDamaged) {
		return c, nil, err
	}
	place, parsed := ParseURL(cfg.URL)
	if parsed != nil || place.Server() {
		return nil, nil, err
	}
	aside := &Aside{Damage: err, Path: fmt.Sprintf("%s.damaged-%s", place.path, now.UTC().Format("20060102T150405.000"))}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(place.path+suffix, aside.Path+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("put the damaged catalog aside: %w", err)
		}
	}
	c, err = Open(ctx, cfg)
	return c, aside, err
}

// openChecked opens the catalog if all of it can be read. ErrDamaged.
func openChecked(ctx context.Context, cfg Config) (*Catalog, error) {
	c, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := c.Check(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
