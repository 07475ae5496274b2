package plugin

import (
	"context"
	"errors"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// misconfigured tells that waiting does not help: what was configured is somebody else's.
func misconfigured(err error) bool {
	return errors.Is(err, backends.ErrHeld) || errors.Is(err, ErrBadRequest)
}

// unlessRefused ends finding out which some stores are: where any is refused, none is this installation's by that.
func (ro *roster) unlessRefused(ctx context.Context, some []*store, refused error) error {
	if refused != nil {
		ro.unmark(ctx, some)
	}
	return refused
}

// unmark takes the mark of this installation from those of some stores that got it a moment ago, since they are not to be its own after
// all. One that the catalog knows was its own before, or is another host's of it by now; and of a catalog that knows none it is not
// certain which were its own. What does not answer keeps the mark, and a person takes it over.
func (ro *roster) unmark(ctx context.Context, some []*store) {
	ctx, cancel := ro.cleanup(ctx)
	defer cancel()
	known, err := ro.catalog.Stores(ctx)
	for _, s := range some {
		id := s.marked.Swap(nil)
		if id == nil || err != nil || len(known) == 0 || slices.ContainsFunc(known, func(k catalog.Store) bool { return k.ID == *id }) {
			continue
		}
		log := ro.log.WithFields(map[string]any{"backend": s.name, "store": *id})
		was, err := s.images.TakeOver(ctx, backends.Holder{})
		if err == nil && was.Catalog != ro.self { // somebody has taken it over meanwhile
			_, err = s.images.TakeOver(ctx, was)
		}
		if err != nil {
			log.WithError(err).Warn("the store still says that it is this installation's, though it was refused")
			continue
		}
		log.Info("the store is nobody's again, since what it was configured with was refused")
	}
}
