package plugin

import (
	"context"
	"sync"

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
	// something was left as it was.
	load    func(context.Context, ...*store) error
	leftOut func()

	stores   map[backends.Name]*store // backends and file caches
	backends []backends.Name          // backends alone, as configured
	labels   labels
	others   others
	placing  sync.Mutex // held by the store that takes its place among the others
}

// meet tells the roster of the parts that are made after it: the books, what lets a store that has come back be served,
// and what asks for a reconcile.
func (ro *roster) meet(b *books, load func(context.Context, ...*store) error, leftOut func()) {
	ro.books, ro.load, ro.leftOut = b, load, leftOut
}

// named is the configured store of that name, or nil.
func (ro *roster) named(name backends.Name) *store { return ro.stores[name] }
