package lru

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrTooLarge: the newcomer alone is over a bound, so that no eviction can help.
	ErrTooLarge = errors.New("larger than the bound")
	// ErrNoRoom: all that may go would not be enough. The same call may succeed later.
	ErrNoRoom = errors.New("no room")
)

// Shortage is the error that Plan returns: which bound cannot be kept and what stands in the way.
// Figures are bytes, or entries for CauseCount.
type Shortage struct {
	Err   error // ErrTooLarge or ErrNoRoom
	Bound Cause
	Limit int64
	Need  int64 // what the newcomer asked for
	Kept  Kept  // what may not go; zero for ErrTooLarge
}

// Kept is what counts against a bound and may not go, by the first reason that applies.
type Kept struct {
	Filling  int64
	Pinned   int64
	Young    int64 // under Bounds.MinAge
	InUse    int64 // has live clones, and Bounds.KeepInUse is set or the bound is the percent bound
	Detached int64 // percent bound only; includes entries in use that are being evicted
}

// String lists what is not zero: "pinned 3, in use 7".
func (k Kept) String() string {
	parts := make([]string, 0, 5)
	for _, p := range []struct {
		name   string
		amount int64
	}{
		{"filling", k.Filling}, {"pinned", k.Pinned}, {"younger than min_age", k.Young},
		{"in use", k.InUse}, {"detached", k.Detached},
	} {
		if p.amount > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", p.name, p.amount))
		}
	}
	return strings.Join(parts, ", ")
}

// Error names the bound by its configuration key.
func (s *Shortage) Error() string {
	key, unit := "max_size", "bytes"
	switch s.Bound {
	case CauseSize:
	case CauseCount:
		key, unit = "max_count", "entries"
	case CausePercent:
		key = "max_percent"
	}
	text := fmt.Sprintf("%v: %d %s needed, %s allows %d", s.Err, s.Need, unit, key, s.Limit)
	if kept := s.Kept.String(); kept != "" {
		text += "; kept: " + kept
	}
	return text
}

func (s *Shortage) Unwrap() error { return s.Err }
