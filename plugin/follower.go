package plugin

import (
	"context"
	"slices"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// visibleWithin is how long after an event with a higher ID another host's event may become visible: its transaction has
// ended by then, since a server ends one that stands still, and a statement does not wait for longer.
const visibleWithin = 30 * time.Second

// follower hands on the events of several hosts, each once. IDs are given before a transaction ends, so one that is not
// there yet may lie below others that are: the follower looks again at what came lately, by its IDs alone.
type follower struct {
	books *books
	take  func(Event) error
	// filter.After is the ID up to which everything was handed on that can still come.
	filter catalog.EventFilter
	now    func() time.Time
	// seen are the IDs above that which were handed on, and when.
	seen map[catalog.EventID]time.Time
}

func newFollower(b *books, f EventFilter, take func(Event) error) *follower {
	rows := f.rows()
	rows.Limit = 0
	return &follower{books: b, take: take, filter: rows, now: time.Now, seen: map[catalog.EventID]time.Time{}}
}

func (f *follower) looker(ctx context.Context) func() error {
	return func() error { return f.look(ctx) }
}

// look hands on what is new.
func (f *follower) look(ctx context.Context) error {
	ids, err := f.books.catalog.EventIDs(ctx, f.filter)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id catalog.EventID) bool { _, known := f.seen[id]; return known })
	for some := range slices.Chunk(ids, eventPage) {
		page, err := f.books.selectEvents(ctx, catalog.EventFilter{IDs: some})
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := f.take(e); err != nil {
				return err
			}
			f.seen[catalog.EventID(e.ID)] = f.now()
		}
	}
	f.settle()
	return nil
}

// settle forgets what nothing can become visible below any more.
func (f *follower) settle() {
	for id, at := range f.seen {
		if id > f.filter.After && f.now().Sub(at) > visibleWithin {
			f.filter.After = id
		}
	}
	for id := range f.seen {
		if id <= f.filter.After {
			delete(f.seen, id)
		}
	}
}
