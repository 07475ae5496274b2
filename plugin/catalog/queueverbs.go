package catalog

import (
	"context"
	"time"
)

// DeleteQueued removes a row; who works on it finds out when the lease is renewed. ErrNotQueued.
func (c *Catalog) DeleteQueued(ctx context.Context, id QueueID) error {
	return c.ofQueued(ctx, "delete", id, func(t tx) error { return t.change(ctx, deleteQueued, id) })
}

// ClearQueue removes all rows, and says how many.
func (c *Catalog) ClearQueue(ctx context.Context) (int64, error) {
	return c.eachQueued(ctx, "clear the queue", clearQueue)
}

// RetryQueued lets a row that failed, or waits for its next try, be tried at once, as if for the first time.
// ErrNotQueued: it is gone, runs or is done.
func (c *Catalog) RetryQueued(ctx context.Context, id QueueID) error {
	return c.ofQueued(ctx, "retry", id, func(t tx) error { return t.change(ctx, retryQueued, id) })
}

// RetryQueue is RetryQueued of all such rows; it says how many.
func (c *Catalog) RetryQueue(ctx context.Context) (int64, error) {
	return c.eachQueued(ctx, "retry the queue", retryFailed)
}

// ExpireQueue removes rows that came to that end at this time or earlier, and says how many.
func (c *Catalog) ExpireQueue(ctx context.Context, state QueueState, until time.Time) (int64, error) {
	return c.eachQueued(ctx, "expire the queue", expireQueue, state, micros(until))
}

func (c *Catalog) eachQueued(ctx context.Context, op, stmt string, args ...any) (rows int64, err error) {
	err = c.write(ctx, op, func(t tx) (err error) {
		rows, err = t.exec(ctx, stmt, args...)
		return err
	})
	return rows, err
}
