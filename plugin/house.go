package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// cleanupTime bounds undoing something after its request has ended.
const cleanupTime = 30 * time.Second

// house is what all parts of the plugin are given: the configuration, the catalog, the internal tenant, and who
// this instance is. Open fills it in before anybody is served; from then on it is only read, by any goroutine.
// It serves nobody itself, and what it names is safe for concurrent use.
type house struct {
	cfg      Config
	log      logrus.FieldLogger
	now      func() time.Time
	observer Observer

	begun   time.Time
	catalog *catalog.Catalog
	sole    bool               // the catalog is a file in this daemon's state directory: no other one has it
	away    away               // whether the catalog's database answers
	clock   dbClock            // of the catalog's database
	self    backends.CatalogID // of catalog
	holder  catalog.Holder
	arrived bool // others know of this daemon
	owner   internaltenant.Owner
	tenant  internaltenant.Usage // project and user, as they were at the start

	// base is the context of what outlives a request: fills and what goes on by itself. Close ends it.
	base context.Context
	end  context.CancelFunc
}

// newHouse has what the configuration says; the rest comes when it is opened.
func newHouse(cfg Config) *house {
	h := &house{cfg: cfg, log: cfg.Log, now: cfg.Now, observer: cfg.Observer, begun: cfg.Now(), holder: catalog.Holder{Incarnation: uuid.NewString()}}
	h.sole = cfg.Catalog.URL == "" || cfg.Catalog.URL == catalog.InDir(cfg.StateDir)
	h.base, h.end = context.WithCancel(context.Background())
	return h
}

// openHouse finds out which daemon this is, and opens the catalog and the internal tenant. closeHouse is due even if it fails.
func (h *house) openHouse(ctx context.Context) (err error) {
	if h.holder.Instance, err = InstanceOf(h.cfg.StateDir); err != nil {
		return err
	}
	if err := h.openCatalog(ctx); err != nil {
		return err
	}
	if err := h.identify(ctx); err != nil {
		return err
	}
	if err := errors.Join(h.arrive(ctx), h.readClock(ctx)); err != nil {
		return err
	}
	h.arrived = true
	if err := h.catalog.TrimEvents(ctx); err != nil {
		return err
	}
	if err := h.catalog.RetryFailed(ctx); err != nil { // rules, formats and sources may be other ones now
		return err
	}
	if h.owner, err = h.cfg.NewOwner(h.catalog.Ledger()); err != nil {
		return err
	}
	return h.meetTenant(ctx)
}

// meetTenant asks who the internal tenant is. One that does not answer, or is not there yet, does not keep
// the daemon from starting: until it is, requests are served without image-volumes.
func (h *house) meetTenant(ctx context.Context) error {
	var err error
	h.tenant, err = h.owner.Usage(ctx)
	if errors.Is(err, internaltenant.ErrUnavailable) || errors.Is(err, internaltenant.ErrNoTenant) {
		h.log.WithError(err).Error("internal tenant cannot be used now; images are not cached on backends until it can")
		return nil
	}
	return err
}

// closeHouse closes what openHouse opened.
func (h *house) closeHouse() error {
	if h.catalog == nil {
		return nil
	}
	h.leave()
	return h.catalog.Close()
}

func (h *house) stopped() bool { return h.base.Err() != nil }

// cleanup is a context for undoing something whose own context may have ended.
func (h *house) cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
}
