package plugin_test

import (
	"context"
	"errors"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// taking waits for a turn in the background; it returns once that has its place, or is in the line.
func taking(t *testing.T, turn plugin.Turn) (got <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- turn.Take(t.Context()) }()
	waitFor(t, func() bool { return turn.Has() || turn.Waits() })
	return done
}

func mustHave(t *testing.T, what string, turn plugin.Turn) {
	t.Helper()
	if !turn.Has() {
		t.Errorf("%s waits", what)
	}
}

func mustWait(t *testing.T, what string, turn plugin.Turn) {
	t.Helper()
	if turn.Has() || !turn.Waits() {
		t.Errorf("%s waits not", what)
	}
}

func TestPlacesAreGivenInTheOrderOfComing(t *testing.T) {
	s := plugin.NewSlots(1)
	first, second, third, gone := plugin.TurnFor(s), plugin.TurnFor(s), plugin.TurnFor(s), plugin.TurnFor(s)
	taking(t, first)
	mustHave(t, "the first", first)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := gone.Take(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("who gives up: %v", err)
	}
	taking(t, second)
	taking(t, third)
	mustWait(t, "the second", second)
	s.Resize(2)
	mustHave(t, "the second of two", second)
	mustWait(t, "the third", third)
	s.Resize(1)
	first.Leave()
	mustWait(t, "the third, of one that is taken", third)
	s.Resize(0)
	mustHave(t, "the third without a bound", third)
}

// Who waits for one of two places keeps none from who needs only the other.
func TestWhoWaitsKeepsNoPlace(t *testing.T) {
	all := plugin.NewSlots(2)
	backend, source := all.Beside(1), all.Beside(1)
	has, waits, other := plugin.TurnFor(backend, all), plugin.TurnFor(backend, source, all), plugin.TurnFor(source, all)
	taking(t, has)
	got := taking(t, waits)
	mustWait(t, "one whose backend is full", waits)
	if !other.Idle() {
		t.Error("one of the source alone would wait")
	}
	taking(t, other)
	mustHave(t, "one of the source alone", other)
	has.Leave()
	mustWait(t, "one whose source is full", waits)
	other.Leave()
	if err := <-got; err != nil {
		t.Error(err)
	}
	waits.Leave()
	if !plugin.TurnFor(backend, source, all).Idle() {
		t.Error("a place was not given back")
	}
}

// One that needs two places, of which one is always taken, gets both in the end.
func TestNobodyIsPassedForEver(t *testing.T) {
	backend := plugin.NewSlots(1)
	source := backend.Beside(1)
	waits := plugin.TurnFor(backend, source)
	now := [2]plugin.Turn{plugin.TurnFor(backend), plugin.TurnFor(source)}
	taking(t, now[0])
	taking(t, now[1])
	taking(t, waits)
	for begun := 0; !waits.Has(); begun++ {
		if begun > 40 {
			t.Fatalf("%d others began meanwhile", begun)
		}
		at := begun % 2
		next := plugin.TurnFor([]plugin.Slots{backend, source}[at])
		taking(t, next)
		now[at].Leave()
		if !next.Has() && !waits.Has() { // the place is kept
			now[1-at].Leave()
		}
		now[at] = next
	}
	if plugin.TurnFor(source).Idle() {
		t.Error("a place that is taken seems free")
	}
}
