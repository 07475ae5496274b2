package catalog

import (
	"context"
	"database/sql"
)

const (
	oldestOfClass = `SELECT MIN(id) FROM events WHERE routine = ?`
	countOfClass  = `SELECT COUNT(*) FROM events WHERE routine = ?`
	// eventsBetween counts the events that there are.
	eventsBetween = `SELECT COUNT(*) FROM events WHERE id > ? AND id < ?`
)

// DroppedEvents counts the events behind one that the log has dropped for its bound, and says which was the last: of all
// classes, where the class that is asked for was trimmed, or either one. IDs that a server has passed over count too, so that it
// is that many at most.
func (c *Catalog) DroppedEvents(ctx context.Context, after EventID, routine bool) (dropped int64, last EventID, err error) {
	err = c.read(ctx, "count dropped events", func(t tx) error {
		dropped, last = 0, after
		oldest, err := t.trimmedTo(ctx, after, routine)
		if err != nil || oldest == 0 {
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
// either. 0: nothing behind after was. A class that has fewer than may be was not. It counts only where something may be missing,
// since that takes time in proportion to the events.
func (t tx) trimmedTo(ctx context.Context, after EventID, routine bool) (EventID, error) {
	var oldest EventID
	for _, class := range []bool{false, true}[:1+number(routine)] {
		var first sql.NullInt64
		if err := t.row(ctx, oldestOfClass, number(class)).Scan(&first); err != nil {
			return 0, err
		}
		if EventID(first.Int64) <= max(oldest, after+1) {
			continue
		}
		var rows int
		if err := t.row(ctx, countOfClass, number(class)).Scan(&rows); err != nil {
			return 0, err
		}
		if rows >= t.c.eventRows(class) {
			oldest = EventID(first.Int64)
		}
	}
	return oldest, nil
}
