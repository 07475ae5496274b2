package plugin

import (
	"context"
	"slices"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// DroppedEvents counts the events behind one that the log has dropped for Config.EventsMax, as far as some of these kinds may
// be among them (none: of any kind), and says which was the last. They are of all kinds and hosts: nobody knows any more which they
// were, and it is that many at most. 0: none was.
func (c Controls) DroppedEvents(ctx context.Context, after int64, kinds []EventKind) (dropped, last int64, err error) {
	n, to, err := c.p.catalog.DroppedEvents(ctx, catalog.EventID(after), len(kinds) == 0 || slices.ContainsFunc(kinds, mayBeRoutine))
	return n, int64(to), err
}

// mayBeRoutine tells of which kinds there may be routine events.
func mayBeRoutine(k EventKind) bool {
	return slices.Contains([]EventKind{EventHit, EventJoined, EventMiss, EventDirect, EventCopied}, k)
}
