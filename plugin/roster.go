package plugin

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/clonecache/clonecache/backends"
)

// roster is which stores there are: what the configuration calls them, which each has turned out to be, what they were
// called, and whether they answer.
//
// Nothing is read from a store, and nothing is made or removed on it, before it has said which it is and is this
// catalog's. The roster never takes a store for another one, and never lets two be one; it knows nothing of what lies
// on them. A crash leaves nothing: stores are asked again at each start.
type roster struct {
	*house
	books *books
	// load lets what lies on a store be served, once that has come back; leftOut asks for a reconcile: then, and where
	// something was left as it was; back has what was left out before tried by the next minute: a store answers again.
	load          func(context.Context, ...*store) error
	leftOut, back func()

	changing sync.Mutex // held by who puts other stores in the place of those of now
	stores   atomic.Pointer[storeSet]
	labels   labels
	others   others
	placing  sync.Mutex // held by the store that takes its place among the others
	telling  turnstile  // held by who tells other daemons, so that they hear last what is so
}

// storeSet are the stores of one moment. It is never changed: another one takes its place, and who has found a store goes on
// with it.
type storeSet struct {
	byName   map[backends.Name]*store // those that are configured
	backends []backends.Name          // of these, in the order of the configuration
	caches   []backends.Name          // as well
	leaving  []*store                 // not configured any more, but in use yet
	coming   []*store                 // to be configured; it is being found out which they are
}

// copied is a set to be changed before anybody sees it.
func (set *storeSet) copied() *storeSet {
	return &storeSet{
		byName: maps.Clone(set.byName), backends: slices.Clone(set.backends), caches: slices.Clone(set.caches),
		leaving: slices.Clone(set.leaving), coming: slices.Clone(set.coming),
	}
}

// ordered are the backends, then the file caches, as configured.
func (set *storeSet) ordered() []*store {
	all := make([]*store, 0, len(set.byName)+len(set.leaving)+len(set.coming))
	for _, n := range slices.Concat(set.backends, set.caches) {
		all = append(all, set.byName[n])
	}
	return all
}

// meet tells the roster of the parts that are made after it: the books, what lets a store that has come back be served,
// what asks for a reconcile, and what has one that is left come soon.
func (ro *roster) meet(b *books, load func(context.Context, ...*store) error, leftOut, back func()) {
	ro.books, ro.load, ro.leftOut, ro.back = b, load, leftOut, back
}

// named is the configured store of that name, or nil.
func (ro *roster) named(name backends.Name) *store { return ro.stores.Load().byName[name] }

// backendNames are the configured backends, without file caches.
func (ro *roster) backendNames() []backends.Name { return ro.stores.Load().backends }

// configuredStores are the backends, then the file caches, as configured.
func (ro *roster) configuredStores() []*store { return ro.stores.Load().ordered() }

// orderedStores are the configured ones, and behind them those that are leaving.
func (ro *roster) orderedStores() []*store {
	set := ro.stores.Load()
	return append(set.ordered(), set.leaving...)
}

// everyStore are all of which it matters which they are: also those that are to be configured.
func (ro *roster) everyStore() []*store {
	set := ro.stores.Load()
	return slices.Concat(set.ordered(), set.leaving, set.coming)
}
