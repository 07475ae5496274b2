package plugin

import (
	"context"
	"sync/atomic"
	"time"
)

// Hosts' clocks differ, and step. What one host decides about what all have - what is old, idle, too young to go, or not to be
// tried again yet - goes by the clock of the catalog's database, by which all of that was dated.

// dbClock is the clock of the catalog's database, as it was last read. Its zero value was never read.
type dbClock struct {
	read atomic.Pointer[clockReading]
}

type clockReading struct {
	said time.Time // by the database
	at   time.Time // by this process, with the monotonic clock, which does not step
}

// readClock reads the database's clock.
func (h *house) readClock(ctx context.Context) error {
	if h.sole {
		return nil
	}
	asked := time.Now()
	said, err := h.catalog.Now(ctx)
	if err == nil {
		h.clock.read.Store(&clockReading{said: said, at: asked})
	}
	return err
}

// catalogTime is what time it is by the clock of the catalog's database, without asking it. A catalog that is the daemon's own has the
// daemon's clock.
func (h *house) catalogTime() time.Time {
	was := h.clock.read.Load()
	if was == nil {
		return h.now()
	}
	return was.said.Add(time.Since(was.at))
}
