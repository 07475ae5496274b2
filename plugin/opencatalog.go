package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// openCatalog opens the catalog and reads all of it. One that cannot be read is put aside: reconciling
// rebuilds it.
func (h *house) openCatalog(ctx context.Context) error {
	path := filepath.Join(h.cfg.StateDir, "catalog.db")
	damage, err := h.openWhole(ctx, path)
	if damage == nil || err != nil {
		return err
	}
	aside := fmt.Sprintf("%s.damaged-%s", path, h.now().UTC().Format("20060102T150405.000"))
	h.log.WithError(damage).WithField("kept_as", aside).Error("catalog cannot be read; it is rebuilt from the backends; of the report, requests that are still in the journal come back, earlier fills and evictions do not")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("put the damaged catalog aside: %w", err)
		}
	}
	h.catalog, err = catalog.Open(ctx, h.catalogConfig(path))
	return err
}

func (h *house) catalogConfig(path string) catalog.Config {
	return catalog.Config{Path: path, MaxEvents: max(h.cfg.EventsMax, 0)}
}

// openWhole opens the catalog if all of it can be read; damage says that it cannot.
func (h *house) openWhole(ctx context.Context, path string) (damage, err error) {
	c, err := catalog.Open(ctx, h.catalogConfig(path))
	if err == nil {
		if err = c.Check(ctx); err == nil {
			h.catalog = c
			return nil, nil
		}
		err = errors.Join(err, c.Close())
	}
	if errors.Is(err, catalog.ErrDamaged) {
		return err, nil
	}
	return nil, err
}
