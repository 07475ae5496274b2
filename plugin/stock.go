package plugin

import (
	"context"
	"sync"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// stock is what is cached: the stores, and for each of them the rows of the catalog, the view of what is ready, the
// claims on the internal tenant's quota, and what lies on the store, kept in step; and the bounds that all of it stays
// within.
//
// Whatever comes to be held was reserved before, and whatever is named is there: a row before its room, the room before
// the claim, the claim before the name, the name before the image-volume; removal goes the other way round. It never
// makes an image-volume and never serves a request, and what it cannot remove now keeps its row. A crash leaves rows
// that are evicting or detached, which reap takes to their end, and nothing that no row names.
type stock struct {
	*house
	books *books
	// returned is called when a store has come back that did not answer before.
	returned func()
	// bytesRead is how much of an entry's image has been read, while it is filled here.
	bytesRead func(catalog.EntryID) int64

	stores    map[backends.Name]*store // backends and file caches
	backends  []backends.Name          // backends alone, as configured
	labels    labels
	placing   sync.Mutex // held by the store that takes its place among the others
	quotaTurn turnstile  // held by the one for whose claim entries go
}

// newStock has the stores that are configured. ErrBadRequest.
func newStock(h *house) (*stock, error) {
	stores, err := newStores(h.cfg)
	if err != nil {
		return nil, err
	}
	k := &stock{house: h, stores: stores, quotaTurn: make(turnstile, 1)}
	for _, b := range h.cfg.Backends {
		k.backends = append(k.backends, b.Name)
	}
	return k, nil
}

// tend frees what waited for its last clone, and looks at some entries whose clones may have gone.
func (k *stock) tend(ctx context.Context) {
	for _, s := range k.stores {
		if _, err := k.reap(ctx, s); err != nil && ctx.Err() == nil {
			k.log.WithField("backend", s.name).WithError(err).Warn("detached image-volumes not reaped; trying again")
		}
	}
	for _, s := range k.stores {
		k.lookAround(ctx, s)
	}
}

// named is the configured store of that name, or nil.
func (k *stock) named(name backends.Name) *store { return k.stores[name] }

// know tells the stock of the parts that are made after it; before that, nothing is asked of it.
func (k *stock) know(b *books, bytesRead func(catalog.EntryID) int64, returned func()) {
	k.books, k.bytesRead, k.returned = b, bytesRead, returned
}
