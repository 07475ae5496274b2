package catalog

import (
	"context"
	"errors"
	"math/rand/v2"
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
// those who are in each other's way do not meet again.
func (c *Catalog) repeat(ctx context.Context, once func() error) error {
	began, pause := time.Now(), firstPause
	for tries := 1; ; tries++ {
		err := once()
		if err == nil || ctx.Err() != nil || !c.again(err, tries, time.Since(began)) {
			return err
		}
		select {
		case <-time.After(rand.N(pause)):
			pause = min(2*pause, mostPause)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// again tells whether a transaction that failed is tried once more. One that may have happened is not.
func (c *Catalog) again(err error, tries int, tried time.Duration) bool {
	var lost *undecidedError
	if !c.place.Server() || c.closed.Load() || errors.As(err, &lost) {
		return false
	}
	switch c.failed(err) {
	case conflicting:
		return tried < repeatFor
	case unavailable:
		return tried < outageFor
	case clashing:
		return tries < clashTries
	case damaged, other:
	}
	return false
}
