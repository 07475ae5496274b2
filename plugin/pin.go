package plugin

import (
	"context"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// SetPinned pins an entry, or unpins it, and returns it as that left it: what is done to it by others at
// the same time comes before or after. catalog.ErrNotFound.
func (p *Plugin) SetPinned(ctx context.Context, id string, pin Pinning) (EntryView, error) {
	return p.stock.pin(ctx, id, pin)
}

// pin is SetPinned.
func (k *stock) pin(ctx context.Context, id string, pin Pinning) (EntryView, error) {
	e, err := k.entry(ctx, id)
	if err != nil {
		return EntryView{}, err
	}
	if err := k.books.flushToRead(ctx); err != nil {
		return EntryView{}, err
	}
	if e, err = k.catalog.SetPinned(ctx, e.ID, bool(pin)); err != nil {
		return EntryView{}, err
	}
	k.notePin(ctx, e)
	return k.fullView(ctx, e), nil
}

// pinByRule pins an entry for a rule that follows its image, unless it is pinned.
func (k *stock) pinByRule(ctx context.Context, id catalog.EntryID) error {
	e, err := k.catalog.Get(ctx, id)
	if err != nil || e.Pinned {
		return err
	}
	if e, err = k.catalog.PinByRule(ctx, id); err == nil {
		k.notePin(ctx, e)
	}
	return err
}

// unpinByRule takes a rule's pin back, and tells whether the entry is not pinned now.
func (k *stock) unpinByRule(ctx context.Context, id catalog.EntryID) (free bool, err error) {
	e, err := k.catalog.UnpinByRule(ctx, id)
	if err != nil || e.Pinned {
		return false, err
	}
	k.notePin(ctx, e)
	return true, nil
}

// notePin makes the event of a pin that was set or taken back.
func (k *stock) notePin(ctx context.Context, e catalog.Entry) {
	kind := EventUnpinned
	if e.Pinned {
		kind = EventPinned
	}
	k.books.noteEntry(kind, e, catalog.Event{})
	k.books.writeNow(ctx)
}
