package catalog

import (
	"context"
	"database/sql"
	"errors"
)

const (
	// trimmedTo is the oldest event of a class that has as many as may be; there is none where it has fewer, since nothing of it
	// was dropped then.
	trimmedTo = `SELECT MIN(id) FROM events WHERE routine = ? HAVING COUNT(*) >= ?`
	// eventsBetween counts the events that there are.
	eventsBetween = `SELECT COUNT(*) FROM events WHERE id > ? AND id < ?`
)

// DroppedEvents counts the events behind one that the log has dropped for its bound, and says which was the last: of all
// classes, where the class that is asked for was trimmed, or either one. IDs that a server has passed over count too, so that it
// is that many at most.
func (c *Catalog) DroppedEvents(ctx context.Context, after EventID, routine bool) (dropped int64, last EventID, err error) {
	err = c.read(ctx, "count dropped events", func(t tx) error {
		dropped, last = 0, after
		oldest, err := t.trimmedTo(ctx, routine)
		if err != nil || oldest <= after+1 {
			return err
		}
		var left int64
		if err := t.row(ctx, eventsBetween, after, oldest).Scan(&left); err != nil {
			return err
		}
		dropped, last = int64(oldest-after-1)-left, oldest-1
		return nil
	})
	return dropped, last, err
}

// trimmedTo is the oldest event of those that may have been trimmed: of the class that is not routine, and with routine of
// either. 0: nothing was.
func (t tx) trimmedTo(ctx context.Context, routine bool) (EventID, error) {
	var oldest EventID
	for _, class := range []bool{false, true}[:1+number(routine)] {
		var id sql.NullInt64
		err := t.row(ctx, trimmedTo, number(class), t.c.eventRows(class)).Scan(&id)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
		oldest = max(oldest, EventID(id.Int64))
	}
	return oldest, nil
}
