package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// FillProgress is how far a fill has come, in bytes.
type FillProgress struct {
	Read    int64 // of the image
	Written int64 // to the image-volume; zeroes are skipped
	Total   int64 // the image's length; -1 unknown
}

// FillInFlight is a fill under a lease that runs, as its holder told of it when it began, or last renewed the lease.
type FillInFlight struct {
	Entry    Entry
	BegunAt  time.Time
	Progress FillProgress
}

const resetProgress = `UPDATE entries SET fill_begun = ?, fill_read = 0, fill_written = 0, fill_total = ?, fill_room = 0
	WHERE id = ? AND state = 'filling' AND attempt = ?`

// beginProgress lets a fill that has just begun have read nothing, and have no room.
func (t tx) beginProgress(ctx context.Context, spec FillSpec, e Entry, now time.Time) error {
	if e.ID == "" { // it has not begun
		return nil
	}
	return t.change(ctx, resetProgress, micros(now), spec.TotalBytes, e.ID, e.Attempt)
}

const renewLease = `UPDATE entries SET lease_until = ?, fill_read = ?, fill_written = ?, fill_total = ?
	WHERE id = ? AND state = 'filling' AND attempt = ? AND lease_host = ? AND lease_incarnation = ?`

// Renew keeps the lease of a fill, and tells others how far that has come: the lease runs for leaseFor from now. One
// that has run out may be renewed as long as nobody took the fill over. ErrLost.
func (c *Catalog) Renew(ctx context.Context, id EntryID, attempt int, h Holder, leaseFor time.Duration, so FillProgress) error {
	return c.write(ctx, ofFill("renew lease", id, attempt), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		return t.change(ctx, renewLease, micros(now.Add(leaseFor)), so.Read, so.Written, so.Total,
			id, attempt, h.Instance, h.Incarnation)
	})
}

const (
	selectInFlight = `SELECT e.id, e.fill_begun, e.fill_read, e.fill_written, e.fill_total FROM entries e
		WHERE e.state = 'filling' AND e.lease_until > ? ORDER BY e.id`
	selectFlight = `SELECT e.id, e.fill_begun, e.fill_read, e.fill_written, e.fill_total FROM entries e
		WHERE e.state = 'filling' AND e.lease_until > ? AND e.id = ?`
)

// InFlight returns the fills of all processes, ordered by ID. One whose lease has run out is not in it: nobody
// works on it, as far as anybody knows.
func (c *Catalog) InFlight(ctx context.Context) ([]FillInFlight, error) {
	return c.inFlight(ctx, "list fills in flight", selectInFlight)
}

// FillOf returns an entry's fill. ErrNotFound: there is none in flight, whatever became of it.
func (c *Catalog) FillOf(ctx context.Context, id EntryID) (FillInFlight, error) {
	op := fmt.Sprintf("look at the fill of entry %s", id)
	one, err := c.inFlight(ctx, op, selectFlight, id)
	if err == nil && len(one) == 0 {
		err = c.wrap(op, ErrNotFound)
	}
	if err != nil {
		return FillInFlight{}, err
	}
	return one[0], nil
}

func (c *Catalog) inFlight(ctx context.Context, op, stmt string, args ...any) ([]FillInFlight, error) {
	var all []FillInFlight
	err := c.read(ctx, op, func(t tx) error {
		all = nil
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		err = t.each(ctx, func(rows *sql.Rows) error {
			var f FillInFlight
			var begun int64
			err := rows.Scan(&f.Entry.ID, &begun, &f.Progress.Read, &f.Progress.Written, &f.Progress.Total)
			f.BegunAt = fromMicros(begun)
			all = append(all, f)
			return err
		}, stmt, append([]any{micros(now)}, args...)...)
		for i := range all {
			if err != nil {
				break
			}
			all[i].Entry, err = t.entry(ctx, all[i].Entry.ID)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

const (
	roomlessAlone = `SELECT pinned, COUNT(*) FROM entries WHERE store = ? AND state = 'filling' AND fill_room = 0 AND id <> ? GROUP BY pinned`
	roomlessFills = `SELECT store, COUNT(*) FROM entries WHERE state = 'filling' AND fill_room = 0 GROUP BY store`
)

// withoutRoom counts the fills of own's store, but for own, that no room was made for yet, by whether they are pinned:
// they hold nothing, and do not count as entries.
func (t tx) withoutRoom(ctx context.Context, own Entry) (map[bool]int64, error) {
	all := make(map[bool]int64)
	err := t.each(ctx, func(rows *sql.Rows) error {
		var pinned bool
		var n int64
		err := rows.Scan(&pinned, &n)
		all[pinned] = n
		return err
	}, roomlessAlone, own.Store, own.ID)
	return all, err
}

// allWithoutRoom counts the fills that no room was made for yet, by store.
func (t tx) allWithoutRoom(ctx context.Context) (map[backends.StoreID]int, error) {
	all := make(map[backends.StoreID]int)
	err := t.each(ctx, func(rows *sql.Rows) error {
		var store backends.StoreID
		var n int
		err := rows.Scan(&store, &n)
		all[store] = n
		return err
	}, roomlessFills)
	return all, err
}
