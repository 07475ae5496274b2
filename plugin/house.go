package plugin

import (
	"context"
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
// It does nothing of its own, and what it names is safe for concurrent use.
type house struct {
	cfg      Config
	log      logrus.FieldLogger
	now      func() time.Time
	observer Observer

	catalog *catalog.Catalog
	self    backends.CatalogID // of catalog
	holder  catalog.Holder
	owner   internaltenant.Owner
	tenant  internaltenant.Usage // project and user, as they were at the start

	// base is the context of what outlives a request: fills and what goes on by itself. Close ends it.
	base context.Context
	end  context.CancelFunc
}

// newHouse has what the configuration says; the rest comes when it is opened.
func newHouse(cfg Config) *house {
	h := &house{cfg: cfg, log: cfg.Log, now: cfg.Now, observer: cfg.Observer, holder: catalog.Holder{Incarnation: uuid.NewString()}}
	h.base, h.end = context.WithCancel(context.Background())
	return h
}

func (h *house) stopped() bool { return h.base.Err() != nil }

// cleanup is a context for undoing something whose own context may have ended.
func (h *house) cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
}
