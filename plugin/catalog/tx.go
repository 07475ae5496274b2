package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// tx is a transaction. Its statements are written with ? for arguments.
type tx struct {
	sql *sql.Tx
	c   *Catalog
}

// write runs f in a transaction that is durable when write returns nil, and has not happened otherwise.
// Under SQLite it is alone in the database from its start. On a server it is alone where it locks, and f is called again
// where others were in the way: what f hands out it sets anew each time. op names it in errors, with its subject.
func (c *Catalog) write(ctx context.Context, op string, f func(tx) error) error {
	return c.wrap(op, c.repeat(ctx, func() error { return c.writeOnce(ctx, f) }))
}

func (c *Catalog) writeOnce(ctx context.Context, f func(tx) error) error {
	m, err := c.marks.take(ctx)
	if err != nil {
		return err
	}
	defer c.marks.give(m)
	t, err := c.writer.BeginTx(ctx, &sql.TxOptions{Isolation: c.dialect.writing})
	if err != nil {
		return err
	}
	err = c.run(ctx, t, func(t tx) error {
		if err := f(t); err != nil {
			return err
		}
		return t.leave(ctx, m)
	})
	var lost *undecidedError
	if errors.As(err, &lost) {
		return c.settle(ctx, m, lost)
	}
	return err
}

// read runs f in a transaction that sees one state of the database and changes nothing. On a server f is called again where
// that fails in it: what f hands out it sets anew each time.
func (c *Catalog) read(ctx context.Context, op string, f func(tx) error) error {
	return c.wrap(op, c.repeat(ctx, func() error {
		if c.rehearse {
			_ = c.readOnce(ctx, f) // the one that counts says the same
		}
		return c.readOnce(ctx, f)
	}))
}

func (c *Catalog) readOnce(ctx context.Context, f func(tx) error) error {
	t, err := c.readers.BeginTx(ctx, &sql.TxOptions{Isolation: c.dialect.reading, ReadOnly: true})
	if err != nil {
		return err
	}
	err = c.run(ctx, t, f)
	if lost := (*undecidedError)(nil); errors.As(err, &lost) {
		return nil // f has read all that it wanted
	}
	return err
}

// run runs f in a transaction that has begun, and ends it. *undecidedError: nobody knows whether it was committed.
func (c *Catalog) run(ctx context.Context, t *sql.Tx, f func(tx) error) error {
	defer t.Rollback() // does nothing after Commit
	err := f(tx{sql: t, c: c})
	if err == nil {
		if err = t.Commit(); err != nil && !errors.Is(err, sql.ErrTxDone) && c.dialect.undecided(err) {
			return &undecidedError{err}
		}
	}
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		err = ctx.Err() // database/sql rolls back as soon as ctx ends, and then says only that it has
	}
	return err
}

// wrap adds the operation, and ErrDamaged, ErrClosed or ErrUnavailable where that is why the database failed.
func (c *Catalog) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	is := c.failed(err)
	switch {
	case is == damaged:
		return fmt.Errorf("%s: %w: %w", op, ErrDamaged, err)
	case c.closed.Load():
		return fmt.Errorf("%s: %w: %w", op, ErrClosed, err)
	case is == unavailable, is == conflicting:
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// now is the one clock that leases and reports go by.
func (t tx) now(ctx context.Context) (time.Time, error) {
	if t.c.now != nil {
		return t.c.now().UTC(), nil
	}
	var us int64
	err := t.row(ctx, t.c.dialect.now).Scan(&us)
	return fromMicros(us), err
}

// lock makes the transaction alone among all that lock the same name, until it ends. Under SQLite it is alone anyway. On
// a server it changes a row: others of that server wait, and one that was committed on another node of a Galera cluster
// meanwhile lets COMMIT fail, upon which the whole transaction is repeated.
func (t tx) lock(ctx context.Context, name string) error {
	if !t.c.place.Server() {
		return nil
	}
	n, err := t.exec(ctx, raiseLock, name)
	if err != nil || n > 0 {
		return err
	}
	stmt := insertLock + t.c.dialect.upsert("locks", []string{"name"}, nil, nil)
	if _, err := t.exec(ctx, stmt, name); err != nil {
		return err
	}
	return t.change(ctx, raiseLock, name)
}

const (
	insertLock = `INSERT INTO locks (name, version) VALUES (?, 0)`
	raiseLock  = `UPDATE locks SET version = version + 1 WHERE name = ?`
)

// exec returns how many rows the statement changed.
func (t tx) exec(ctx context.Context, stmt string, args ...any) (int64, error) {
	res, err := t.sql.ExecContext(ctx, t.c.dialect.rewrite(stmt), t.texts(args)...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// change is a compare-and-set of one row. ErrLost: the row was not as the statement's WHERE has it.
func (t tx) change(ctx context.Context, stmt string, args ...any) error {
	n, err := t.exec(ctx, stmt, args...)
	switch {
	case err != nil:
		return err
	case n == 0:
		return ErrLost
	case n > 1:
		return fmt.Errorf("%d rows changed instead of one", n)
	}
	return nil
}

// stillThat is change of a row that this transaction has read, where it is still as it was then. errRaced.
func (t tx) stillThat(ctx context.Context, stmt string, args ...any) error {
	err := t.change(ctx, stmt, args...)
	if errors.Is(err, ErrLost) {
		return errRaced
	}
	return err
}

// prepared calls f, which may run the statement many times.
func (t tx) prepared(ctx context.Context, stmt string, f func(run func(args ...any) error) error) (err error) {
	p, err := t.sql.PrepareContext(ctx, t.c.dialect.rewrite(stmt))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return f(func(args ...any) error {
		_, err := p.ExecContext(ctx, t.texts(args)...)
		return err
	})
}

func (t tx) row(ctx context.Context, stmt string, args ...any) *sql.Row {
	return t.sql.QueryRowContext(ctx, t.c.dialect.rewrite(stmt), t.texts(args)...)
}

// each calls f for every row.
func (t tx) each(ctx context.Context, f func(*sql.Rows) error, stmt string, args ...any) (err error) {
	rows, err := t.sql.QueryContext(ctx, t.c.dialect.rewrite(stmt), t.texts(args)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// texts are the arguments of a statement, with what the database does not take in a text replaced.
func (t tx) texts(args []any) []any {
	if t.c.dialect.text == nil {
		return args
	}
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = a
		if v := reflect.ValueOf(a); v.Kind() == reflect.String {
			out[i] = t.c.dialect.text(v.String())
		}
	}
	return out
}

// micros is how a time is stored: microseconds since 1970 UTC; 0 is the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
