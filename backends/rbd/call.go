//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// work is one piece of work against the cluster. It runs in its own goroutine, and goes on there when
// the caller has given it up.
type work struct {
	// ctx ends when the caller left or gave up: nothing new is begun then.
	ctx context.Context
	*session

	extended chan time.Duration // see mayTake

	mu        sync.Mutex
	delivered bool
	abandoned bool
	undo      []func(ctx context.Context) // what to do if the result reaches nobody
}

// mayTake lets the work go on for that long from now before it is given up.
func (w *work) mayTake(limit time.Duration) {
	select {
	case w.extended <- limit:
	case <-w.ctx.Done():
	}
}

// ifAbandoned registers what is to be done if the result reaches nobody, because the caller gave up
// while it was made.
func (w *work) ifAbandoned(undo func(ctx context.Context)) { w.undo = append(w.undo, undo) }

// deliver tells whether the caller takes the result.
func (w *work) deliver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delivered = !w.abandoned
	return w.delivered
}

// abandon tells whether the work is given up; false where its result is just being delivered.
func (w *work) abandon() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abandoned = !w.delivered
	return w.abandoned
}

type result[T any] struct {
	value T
	err   error
}

// cleanUp is how long work whose caller has left may take to undo what it was at before it is given up.
const cleanUp = 2 * time.Second

// do runs a piece of work, with at most Config.Calls others at once, and waits for it at most
// Config.Timeout, or as long as the work asks for; after that it is backends.ErrUnavailable. When ctx
// ends, the work is told and has a moment to clean up; an error after that moment is both ErrUnavailable and ctx's.
// Ceph's errors get their meaning.
func do[T any](ctx context.Context, b *Backend, f func(w *work) (T, error)) (T, error) {
	var zero T
	limit := b.config.Timeout
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	if err := b.begin(ctx, timer.C); err != nil {
		return zero, err
	}
	w := &work{ctx: ctx, extended: make(chan time.Duration)}
	done := make(chan result[T], 1)
	go func() {
		defer b.end()
		done <- run(b, w, f)
	}()
	left, extended := ctx.Done(), w.extended
	for late := false; !late; {
		select {
		case r := <-done:
			return r.value, r.err
		case limit = <-extended:
			timer.Reset(limit)
		case <-left:
			left, extended = nil, nil
			timer.Reset(cleanUp)
		case <-timer.C:
			late = true
		}
	}
	if !w.abandon() {
		r := <-done
		return r.value, r.err
	}
	if err := ctx.Err(); err != nil {
		return zero, fmt.Errorf("%w: no answer from the cluster: %w", backends.ErrUnavailable, err)
	}
	return zero, fmt.Errorf("%w: no answer from the cluster within %v", backends.ErrUnavailable, limit)
}

func run[T any](b *Backend, w *work, f func(w *work) (T, error)) result[T] {
	var r result[T]
	if w.session, r.err = b.connected(w.ctx); r.err == nil {
		r.value, r.err = f(w)
		b.observe(w.session, r.err)
	}
	r.err = explain(r.err)
	if !w.deliver() && r.err == nil {
		for _, undo := range w.undo {
			undo(context.WithoutCancel(w.ctx))
		}
	}
	return r
}

// try is do for work without a result.
func (b *Backend) try(ctx context.Context, f func(w *work) error) error {
	_, err := do(ctx, b, func(w *work) (struct{}, error) { return struct{}{}, f(w) })
	return err
}

var errClosed = errors.New("the backend is closed")

// begin takes a slot.
func (b *Backend) begin(ctx context.Context, late <-chan time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-late:
		return fmt.Errorf("%w: %d calls wait for the cluster already", backends.ErrUnavailable, cap(b.slots))
	}
	if err := b.enter(); err != nil {
		<-b.slots
		return err
	}
	return nil
}

// enter begins what Close waits for.
func (b *Backend) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	b.running.Add(1)
	return nil
}

// end gives the slot back.
func (b *Backend) end() {
	<-b.slots
	b.running.Done()
}
