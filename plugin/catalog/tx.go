package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// tx is a transaction. Its statements are written with ? for arguments.
type tx struct {
	sql *sql.Tx
	c   *Catalog
}

// write runs f in a transaction that is durable when write returns nil, and has not happened otherwise.
// Under SQLite it is alone in the database from its start. op names it in errors, with its subject.
func (c *Catalog) write(ctx context.Context, op string, f func(tx) error) error {
	return c.inTx(ctx, c.writer, op, f)
}

// read runs f in a transaction that sees one state of the database and changes nothing.
func (c *Catalog) read(ctx context.Context, op string, f func(tx) error) error {
	return c.inTx(ctx, c.readers, op, f)
}

func (c *Catalog) inTx(ctx context.Context, db *sql.DB, op string, f func(tx) error) error {
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return c.wrap(op, err)
	}
	defer t.Rollback() // does nothing after Commit
	err = f(tx{sql: t, c: c})
	if err == nil {
		err = t.Commit()
	}
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		err = ctx.Err() // database/sql rolls back as soon as ctx ends, and then says only that it has
	}
	return c.wrap(op, err)
}

// wrap adds the operation, and ErrDamaged or ErrClosed where that is why the database failed.
func (c *Catalog) wrap(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case c.dialect.damaged(err):
		return fmt.Errorf("%s: %w: %w", op, ErrDamaged, err)
	case c.closed.Load():
		return fmt.Errorf("%s: %w: %w", op, ErrClosed, err)
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

// lock makes the transaction alone among all that lock the same name, until it ends.
func (t tx) lock(ctx context.Context, name string) error {
	stmt := insertLock + t.c.dialect.upsert("locks", []string{"name"}, nil, nil)
	if _, err := t.exec(ctx, stmt, name); err != nil {
		return err
	}
	var locked string
	return t.row(ctx, selectLock+t.c.dialect.lockRows, name).Scan(&locked)
}

const (
	insertLock = `INSERT INTO locks (name) VALUES (?)`
	selectLock = `SELECT name FROM locks WHERE name = ?`
)

// exec returns how many rows the statement changed.
func (t tx) exec(ctx context.Context, stmt string, args ...any) (int64, error) {
	res, err := t.sql.ExecContext(ctx, t.c.dialect.placeholders(stmt), args...)
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

// prepared calls f, which may run the statement many times.
func (t tx) prepared(ctx context.Context, stmt string, f func(run func(args ...any) error) error) (err error) {
	p, err := t.sql.PrepareContext(ctx, t.c.dialect.placeholders(stmt))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return f(func(args ...any) error {
		_, err := p.ExecContext(ctx, args...)
		return err
	})
}

func (t tx) row(ctx context.Context, stmt string, args ...any) *sql.Row {
	return t.sql.QueryRowContext(ctx, t.c.dialect.placeholders(stmt), args...)
}

// each calls f for every row.
func (t tx) each(ctx context.Context, f func(*sql.Rows) error, stmt string, args ...any) (err error) {
	rows, err := t.sql.QueryContext(ctx, t.c.dialect.placeholders(stmt), args...)
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
