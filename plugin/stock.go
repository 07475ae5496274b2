package plugin

import (
	"context"
	"sync"

	"golang.org/x/sync/singleflight"

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
	*roster // the stores
	books   *books
	// bytesRead is how much of an entry's image has been read, while it is filled here.
	bytesRead func(catalog.EntryID) int64

	quotaTurn turnstile          // held by the one for whose claim entries go
	growing   singleflight.Group // entries that get another generation
	growths   sync.WaitGroup     // who waits for these
	returns   returns
	recalls   returns // told where an eviction begins to wait for loans
	damaged   damaged // what was found so, beside the catalog
}

// newStock has the stores that are configured. ErrBadRequest.
func newStock(h *house) (*stock, error) {
	r := &roster{house: h, telling: make(turnstile, 1)}
	set, err := (&storeSet{}).with(h.cfg.Backends, h.cfg.FileCaches)
	if err != nil {
		return nil, err
	}
	r.stores.Store(set)
	return &stock{house: h, roster: r, quotaTurn: make(turnstile, 1)}, nil
}

// know tells the stock, and its roster, of the parts that are made after it; before that, nothing is asked of them.
func (k *stock) know(b *books, bytesRead func(catalog.EntryID) int64, leftOut, back func()) {
	k.books, k.bytesRead = b, bytesRead
	k.meet(b, k.loadView, leftOut, back)
}

// tend frees what waited for its last clone, and looks at some entries whose clones may have gone.
func (k *stock) tend(ctx context.Context) {
	for _, s := range k.orderedStores() {
		if s.outOfUse() != nil {
			continue
		}
		if err := k.reapDue(ctx, s, choresEvery/2); err != nil && ctx.Err() == nil {
			k.log.WithField("backend", s.name).WithError(err).Warn("detached image-volumes not reaped; trying again")
		}
	}
	for _, s := range k.orderedStores() {
		k.lookAround(ctx, s)
	}
}
