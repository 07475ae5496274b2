package plugin

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// While the catalog's database does not answer, hits go on from the view and the journal. A miss needs the database, and is
// bypassed at once rather than after each one's own patience. The next beat finds out whether it answers again.

// away says since when the catalog's database does not answer; its zero value: it does.
type away struct {
	now atomic.Pointer[CatalogAway]
}

// CatalogAway is that the catalog's database does not answer.
type CatalogAway struct {
	Since time.Time `json:"since" doc:"Since when it does not answer"`
	Error string    `json:"error,omitempty" doc:"What asking it came to"`
}

// noteCatalog notes whether the catalog's database answers, from what a call came to. An error that says nothing of that
// changes nothing.
func (h *house) noteCatalog(err error) {
	switch {
	case err == nil:
		if was := h.away.now.Swap(nil); was != nil {
			h.log.WithField("since", was.Since).Info("the catalog's database answers again")
		}
	case errors.Is(err, catalog.ErrUnavailable) && !h.sole:
		if h.away.now.CompareAndSwap(nil, &CatalogAway{Since: h.now().UTC(), Error: err.Error()}) {
			h.log.WithError(err).Error("the catalog's database does not answer; hits go on, images that are not cached are bypassed")
		}
	}
}

// catalogAway is why nothing can be filled now; nil: it can.
func (h *house) catalogAway() error {
	if was := h.away.now.Load(); was != nil {
		return &stepAside{reason: ReasonCatalogDown, cause: catalog.ErrUnavailable, detail: "the catalog's database does not answer since " + was.Since.Format(time.RFC3339)}
	}
	return nil
}

// CatalogAway is since when the catalog's database does not answer, and why; nil: it does. Nobody is asked.
func (p *Plugin) CatalogAway() *CatalogAway { return p.away.now.Load() }
