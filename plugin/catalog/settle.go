package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// undecidedError is a COMMIT whose answer was lost.
type undecidedError struct{ err error }

func (e *undecidedError) Error() string {
	return "whether it has happened is not known: " + e.err.Error()
}

func (e *undecidedError) Unwrap() error { return e.err }

// marks are what this process's transactions leave in the database, so that one whose answer was lost is found to have
// happened or not. Each that runs has a slot to itself, and leaves its number in that slot's row: nobody else writes it.
type marks struct {
	process string
	number  atomic.Int64
	free    chan int // slots
}

// mark is one transaction's.
type mark struct {
	slot   int
	number int64
}

// newMarks allows so many transactions at a time.
func newMarks(slots int) *marks {
	m := &marks{process: uuid.NewString(), free: make(chan int, slots)}
	for slot := range slots {
		m.free <- slot
	}
	return m
}

// take waits for a free slot; a nil *marks has none to give, and needs none.
func (m *marks) take(ctx context.Context) (mark, error) {
	if m == nil {
		return mark{}, nil
	}
	select {
	case slot := <-m.free:
		return mark{slot: slot, number: m.number.Add(1)}, nil
	case <-ctx.Done():
		return mark{}, ctx.Err()
	}
}

func (m *marks) give(taken mark) {
	if m != nil {
		m.free <- taken.slot
	}
}

const (
	leaveMark  = `INSERT INTO settled (process, slot, number, asked, at) VALUES (?, ?, ?, ?, ?)`
	selectMark = `SELECT number FROM settled WHERE process = ? AND slot = ?`
	pruneMarks = `DELETE FROM settled WHERE at < ?`
	// keepMarks is how long a row stays after its last transaction; an answer is asked for within settleFor.
	keepMarks = 24 * time.Hour
	settleFor = 15 * time.Second
)

// leave leaves the mark, as the last thing before COMMIT.
func (t tx) leave(ctx context.Context, m mark) error {
	if t.c.marks == nil {
		return nil
	}
	return t.raiseMark(ctx, m.slot, m.number)
}

// raiseMark changes the slot's row in any case: it waits for a transaction that still has it, and where that is on another
// node of a Galera cluster one of the two cannot commit.
func (t tx) raiseMark(ctx context.Context, slot int, number int64) error {
	stmt := leaveMark + t.c.dialect.upsert("settled", []string{"process", "slot"}, []string{"asked"}, []string{"number", "at"})
	_, err := t.exec(ctx, stmt, t.c.marks.process, slot, number, 1, time.Now().UnixMicro())
	return err
}

// settle finds out whether a transaction whose COMMIT was not answered has happened: nil if so. Else it never will, and
// the error is one upon which it may be repeated. *undecidedError: the database does not say in time either.
func (c *Catalog) settle(ctx context.Context, m mark, lost *undecidedError) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		number, err := c.lastMark(ctx, m.slot)
		switch {
		case err == nil && number >= m.number:
			return nil
		case err == nil:
			return fmt.Errorf("%w: the answer to COMMIT was lost, and it has not happened: %w", errRaced, lost.err)
		case ctx.Err() != nil || c.failed(err) == other:
			return lost
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-ctx.Done():
			return lost
		}
	}
}

// lastMark is the number of the last transaction of a slot that was committed, once no other can be any more.
func (c *Catalog) lastMark(ctx context.Context, slot int) (number int64, err error) {
	t, err := c.writer.BeginTx(ctx, &sql.TxOptions{Isolation: c.dialect.writing})
	if err != nil {
		return 0, err
	}
	err = c.run(ctx, t, func(t tx) error {
		if err := t.raiseMark(ctx, slot, 0); err != nil {
			return err
		}
		return t.row(ctx, selectMark, c.marks.process, slot).Scan(&number)
	})
	if err != nil && errors.Is(err, context.Canceled) {
		return 0, ctx.Err()
	}
	return number, err
}
