package catalog

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

// How long a transaction is tried again, on a server: while others are in the way, and while the server does not answer,
// as when another one takes its place behind a proxy.
const (
	repeatFor  = 20 * time.Second
	outageFor  = 3 * time.Second
	clashTries = 5
	firstPause = 4 * time.Millisecond
	mostPause  = 400 * time.Millisecond
)

// errRaced: a row has changed between two statements of one transaction, which is repeated then.
var errRaced = errors.New("others have changed it meanwhile")

// failed says what an error means for its transaction.
func (c *Catalog) failed(err error) failure {
	if errors.Is(err, errRaced) {
		return conflicting
	}
	return c.dialect.failed(err)
}

// repeat calls once until it succeeds, fails for good, or is not worth it any more. Pauses between are random, so that
// those who are in each other's way do not meet again. Where ctx ends in a try, what the try before met is told too: it is why
// that one was needed.
func (c *Catalog) repeat(ctx context.Context, once func() error) error {
	all, pause := tries{c: c, began: time.Now()}, firstPause
	var before error
	for {
		at := time.Now()
		err := once()
		if err != nil && ctx.Err() != nil {
			return errors.Join(err, before)
		}
		if err == nil || !all.again(err, at, time.Now()) {
			return err
		}
		select {
		case <-time.After(rand.N(pause)):
			pause = min(2*pause, mostPause)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err, before)
		}
		before = err
	}
}

// tries are those of one transaction. Each kind of failure has its own bound: one that others were long in the way of meets an
// outage, or a row that is there already, with all the patience that these have.
type tries struct {
	c       *Catalog
	began   time.Time
	clashes int
	silent  time.Time // when the first one of a row began in which the server did not answer; zero: it has answered the last
}

// again tells whether a transaction is tried once more whose try from at to now failed. One that may have happened is not.
func (t *tries) again(err error, at, now time.Time) bool {
	var lost *undecidedError
	if !t.c.place.Server() || t.c.closed.Load() || errors.As(err, &lost) {
		return false
	}
	is := t.c.failed(err)
	if is != unavailable {
		t.silent = time.Time{}
	}
	switch is {
	case conflicting:
		return now.Sub(t.began) < repeatFor
	case unavailable:
		return t.afterOutage(err, at, now)
	case clashing:
		t.clashes++
		return t.clashes < clashTries
	case damaged, other:
	}
	return false
}

// afterOutage is again where the server did not answer. Where it was this process that stood still, the server has ended its
// connection (idleSeconds), and serves: so one more try is due after one that took long, unless that only waited for an answer.
func (t *tries) afterOutage(err error, at, now time.Time) bool {
	first := t.silent.IsZero()
	if first {
		t.silent = at
	}
	var network net.Error
	waited := errors.As(err, &network) && network.Timeout() || now.Sub(at) >= answerWithin
	return now.Sub(t.silent) < outageFor || first && !waited
}
