package outbox

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
)

// The log of events keeps so many (events_max), and waits for no sink: one that takes nothing for long never sees what was dropped
// meanwhile. Which of these were for it nobody knows any more; how many there were, of all kinds and hosts, is counted and told.

// Gaps tells what the log has dropped: the cache's Controls.
type Gaps interface {
	DroppedEvents(ctx context.Context, after int64, kinds []plugin.EventKind) (dropped, last int64, err error)
}

// lateAfter is how old an event may be that a sink is about to get; if it is older, the sink is behind.
const lateAfter = time.Minute

// gap is what a sink's file says of the events that it may never see.
type gap struct {
	// Behind tells that an event was not taken at the first try, or came late, and that the sink had not all of its events since.
	Behind bool `json:"behind"`
	// Lost is how many events the log has dropped before the sink could take them; LostTo is the last of these.
	Lost   int64 `json:"lost"`
	LostTo int64 `json:"lost_to"`
}

// fellBehind notes that an event is not taken, or is late; s.mu is held.
func (s *sink) fellBehind() {
	if !s.Behind {
		s.Behind, s.dirty = true, true
	}
}

// lookForGap counts what the log has dropped behind the sink's position, if the sink has been behind. It asks nothing otherwise: a
// sink that has all of its events has a position that lies far back where others' are all that comes.
func (s *sink) lookForGap(ctx context.Context) error {
	s.mu.Lock()
	behind, position, from := s.Behind, s.Position, max(s.Position, s.LostTo)
	s.mu.Unlock()
	if !behind {
		return nil
	}
	next, err := s.cfg.Source.Events(ctx, plugin.EventFilter{After: position, Host: s.cfg.Instance, Kinds: s.Kinds, Limit: 1})
	if err != nil {
		return err
	}
	lost, last, err := s.cfg.Gaps.DroppedEvents(ctx, from, s.Kinds)
	if err != nil {
		return err
	}
	s.countGap(lost, last, len(next) == 0)
	return nil
}

// countGap notes what was dropped, up to the last one, and whether the sink has all that is there.
func (s *sink) countGap(lost, last int64, caughtUp bool) {
	s.mu.Lock()
	if lost > 0 {
		s.Lost, s.LostTo, s.dirty = s.Lost+lost, last, true
	}
	if caughtUp {
		s.Behind, s.dirty = false, true
	}
	s.mu.Unlock()
	if lost > 0 {
		s.log.WithFields(logrus.Fields{"events": lost, "to": last}).
			Error("the log has dropped events before the sink could take them, perhaps some of its own; see that it takes events, or raise events_max")
	}
}
