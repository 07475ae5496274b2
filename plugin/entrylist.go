package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// Entries lists entries in the order that is asked for; by default by their IDs, which is by age. ErrBadRequest: there is no
// such order, or After is no place in it. ErrUnknownBackend.
func (p *Plugin) Entries(ctx context.Context, f EntryFilter) ([]EntryView, error) {
	views, err := p.stock.list(ctx, f)
	if err != nil {
		return nil, err
	}
	return views, p.fills.readElsewhere(ctx, views)
}

// list is Entries.
func (k *stock) list(ctx context.Context, f EntryFilter) ([]EntryView, error) {
	selected, err := f.selected()
	if err != nil {
		return nil, err
	}
	if err := k.books.flushToRead(ctx); err != nil {
		return nil, err
	}
	if f.Backend != "" {
		selected.Store, err = k.storeID(ctx, f.Backend)
		if errors.Is(err, backends.ErrUnavailable) {
			return []EntryView{}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	entries, err := k.listFresh(ctx, selected)
	if err != nil {
		return nil, err
	}
	if err := k.asked(f.Backend, len(entries)); err != nil {
		return nil, err
	}
	views := make([]EntryView, 0, len(entries))
	for _, e := range entries {
		v := k.entryView(e)
		if selected.Order != catalog.ByAge {
			v.ListPlace = selected.Order.Text(selected.Order.PlaceOf(e))
		}
		views = append(views, v)
	}
	return views, nil
}

// selected is the filter in the catalog's words, but for the store. ErrBadRequest.
func (f EntryFilter) selected() (catalog.Filter, error) {
	c := catalog.Filter{ImageID: f.ImageID, Contains: f.Contains, Limit: f.Limit}
	if f.Sort != "" && f.Sort != SortAge {
		c.Order = catalog.Order(f.Sort)
	}
	if f.Sort != "" && !slices.Contains(EntrySorts, f.Sort) {
		return c, fmt.Errorf("%w: sort: %q is none of %s", ErrBadRequest, f.Sort, listed(EntrySorts))
	}
	var ok bool
	if c.After, ok = c.Order.ParsePlace(f.After); !ok {
		return c, fmt.Errorf("%w: after: %q is not the list_place of an entry in a list by %s", ErrBadRequest, f.After, f.Sort)
	}
	id := string(c.After.ID)
	if whole, err := uuid.Parse(id); id != "" && (err != nil || whole.String() != id) {
		return c, fmt.Errorf("%w: after: %q is no whole ID of an entry, as the list has it in JSON", ErrBadRequest, id)
	}
	switch f.State {
	case "":
		c.States = []catalog.State{catalog.Filling, catalog.Ready, catalog.Evicting, catalog.Detached}
	case "all":
	default:
		c.States = []catalog.State{catalog.State(f.State)}
	}
	return c, nil
}

// listFresh lists entries with their live clones as they are now, as far as a moment is enough to look at them. By clones they
// are listed again where some had others than the catalog knew: it does by then.
func (k *stock) listFresh(ctx context.Context, f catalog.Filter) ([]catalog.Entry, error) {
	entries, err := k.catalog.List(ctx, f)
	if err != nil {
		return nil, err
	}
	if k.freshen(ctx, entries) && f.Order == catalog.ByClones {
		return k.catalog.List(ctx, f)
	}
	return entries, nil
}
