package plugin

import (
	"context"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// openCatalog opens the catalog and reads all of it. A damaged one was put aside: reconciling rebuilds it.
func (h *house) openCatalog(ctx context.Context) error {
	cfg := catalog.Config{Access: h.cfg.Catalog, Daemon: h.holder.Instance, MaxEvents: max(h.cfg.EventsMax, 0)}
	if !h.sole {
		cfg.Incarnation, cfg.LeaseFor = h.holder.Incarnation, h.cfg.LeaseFor
	}
	if cfg.URL == "" {
		cfg.URL = catalog.InDir(h.cfg.StateDir)
	}
	c, aside, err := catalog.OpenWhole(ctx, cfg, h.now())
	if aside != nil {
		h.log.WithError(aside.Damage).WithField("kept_as", aside.Path).Error("catalog cannot be read; it is rebuilt from the backends; of the report, requests that are still in the journal come back, earlier fills and evictions do not")
	}
	h.catalog = c
	return err
}
