//go:build databases

package catalog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// faulty connects to a server and lets three in ten COMMITs fail: one of them on others' account, and of two the answer is
// lost, once after and once before it has happened.
type faulty struct {
	driver.Connector
	conflict error
	injected *[3]atomic.Int64
}

func (f faulty) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := f.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return faultyConn{conn, f}, nil
}

// faultyConn passes on what database/sql asks the drivers for.
type faultyConn struct {
	driver.Conn
	f faulty
}

func (c faultyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	t, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return faultyTx{t, c.f}, nil
}

func (c faultyConn) ExecContext(ctx context.Context, stmt string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, stmt, args)
}

func (c faultyConn) QueryContext(ctx context.Context, stmt string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, stmt, args)
}

func (c faultyConn) PrepareContext(ctx context.Context, stmt string) (driver.Stmt, error) {
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, stmt)
}

func (c faultyConn) CheckNamedValue(v *driver.NamedValue) error {
	return c.Conn.(driver.NamedValueChecker).CheckNamedValue(v)
}

func (c faultyConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

type faultyTx struct {
	driver.Tx
	f faulty
}

func (t faultyTx) Commit() error {
	fault := rand.IntN(10)
	if fault < len(t.f.injected) {
		t.f.injected[fault].Add(1)
	}
	switch fault {
	case 0:
		return errors.Join(t.Rollback(), t.f.conflict)
	case 1:
		return errors.Join(t.Tx.Commit(), driver.ErrBadConn)
	case 2:
		return errors.Join(t.Rollback(), io.ErrUnexpectedEOF)
	}
	return t.Tx.Commit()
}

// withFaults is a catalog whose server is faulty.
func withFaults(t *testing.T) (*Catalog, *[3]atomic.Int64) {
	t.Helper()
	c := open(t, anew(t), nil)
	l, err := onServer("").login()
	if err != nil {
		t.Fatal(err)
	}
	f := faulty{Connector: newMariaDBConnector(c.place, l), conflict: &mysql.MySQLError{Number: deadlock}, injected: new([3]atomic.Int64)}
	if c.place.scheme == schemePostgres {
		f.conflict = &pgconn.PgError{Code: serializationFailure}
		if f.Connector, err = newPostgresConnector(c.place, "", l); err != nil {
			t.Fatal(err)
		}
	}
	whole := c.writer
	c.writer = sql.OpenDB(f)
	c.readers = c.writer
	c.writer.SetMaxOpenConns(serverConns)
	t.Cleanup(func() {
		if err := c.writer.Close(); err != nil {
			t.Error(err)
		}
		c.writer, c.readers = whole, whole
	})
	return c, f.injected
}

// liveThrough is what becomes of one entry, with sums that a transaction which happens twice, or not at all, would show.
func liveThrough(ctx context.Context, c *Catalog, key Key) error {
	s := spec(key)
	s.Store = "faulty"
	e, _, start, err := c.BeginFill(ctx, s)
	if err != nil || start != Started {
		return fmt.Errorf("begin: %v, %w", start, err)
	}
	if _, _, err := c.Publish(ctx, e.ID, 1, published(key, 10)); err != nil {
		return err
	}
	if found, err := c.Find(ctx, "faulty", s.Domain, key); err != nil || found.ID != e.ID {
		return fmt.Errorf("found %s: %w", found.ID, err)
	}
	now := time.Now()
	if err := c.RecordFill(ctx, FillRecord{At: now, Store: "faulty", ImageID: "i", Took: time.Second, SourceBytes: 1}); err != nil {
		return err
	}
	if err := c.Record(ctx, "daemon", 0, []Request{{At: now, Backend: "b", ImageID: "i", Entry: e.ID, Outcome: "hit", SavedBytes: 1}}); err != nil {
		return err
	}
	if e, err = c.BeginEvict(ctx, e.ID, CauseAdmin); err != nil || e.Hits != 1 {
		return fmt.Errorf("evict with %d hits: %w", e.Hits, err)
	}
	return c.Remove(ctx, e.ID)
}

func TestEachTransactionHappensOnceThoughCommitsFail(t *testing.T) {
	c, injected := withFaults(t)
	const lives, each = 4, 6
	var wg sync.WaitGroup
	for n := range lives {
		wg.Go(func() {
			for i := range each {
				if err := liveThrough(t.Context(), c, Key(fmt.Sprint("k", n, "-", i))); err != nil {
					t.Errorf("life %d of %d: %v", i, n, err)
				}
			}
		})
	}
	wg.Wait()
	for fault := range injected {
		if injected[fault].Load() == 0 {
			t.Errorf("fault %d never came", fault)
		}
	}
	requests, err := c.Requests(t.Context(), time.Time{})
	if err != nil || len(requests) != 1 || requests[0].Requests != lives*each || requests[0].SavedBytes != lives*each {
		t.Errorf("requests: %+v, %v, want %d", requests, err, lives*each)
	}
	fills, err := c.Fills(t.Context(), time.Time{})
	if err != nil || len(fills) != 1 || fills[0].Fills != lives*each || fills[0].SourceBytes != lives*each {
		t.Errorf("fills: %+v, %v, want %d", fills, err, lives*each)
	}
	gone, err := c.Evictions(t.Context(), time.Time{})
	if err != nil || len(gone) != 1 || gone[0].Count != lives*each || gone[0].Bytes != 10*lives*each {
		t.Errorf("evictions: %+v, %v, want %d", gone, err, lives*each)
	}
	notMiscounted(t, c)
	if entries, err := c.List(t.Context(), Filter{}); err != nil || len(entries) != 0 {
		t.Errorf("left: %+v, %v", entries, err)
	}
	t.Logf("of the COMMITs %d were in others' way, %d were lost after they had happened and %d before", injected[0].Load(), injected[1].Load(), injected[2].Load())
}
