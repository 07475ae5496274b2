package plugin

import (
	"context"
	"slices"
)

// fillSlot is a fill's place among those that may read and write at a time. A fill takes it once the row is its own: one
// that another process makes is waited for without a place.
type fillSlot struct {
	places []*slots // one of each is taken, in this order: the last are those of all fills
	taken  bool
}

// slotFor is the place that a fill needs: among those of its image's source where it has a bound, and among all. One that keeps
// bytes as they are needs one among those of downloads first: while it waits for that it has no place that volumes need.
func (fl *fills) slotFor(want *wanted) fillSlot {
	var places []*slots
	own := fl.limits.of(want.image.Source)
	if want.asItIs() && own.keeping != nil {
		places = append(places, own.keeping)
	}
	if want.asItIs() {
		places = append(places, fl.keeping)
	}
	if own.places != nil {
		places = append(places, own.places)
	}
	return fillSlot{places: append(places, fl.places)}
}

// idle tells whether the place would be had at once.
func (s *fillSlot) idle() bool {
	return !slices.ContainsFunc(s.places, func(one *slots) bool { _, now := one.free(); return !now })
}

// take waits for a place; with one it does nothing.
func (s *fillSlot) take(ctx context.Context) error {
	if s.taken {
		return nil
	}
	for n, one := range s.places {
		if err := one.take(ctx); err != nil {
			leaveAll(s.places[:n])
			return err
		}
	}
	s.taken = true
	return nil
}

func (s *fillSlot) leave() {
	if s.taken {
		leaveAll(s.places)
		s.taken = false
	}
}

func leaveAll(places []*slots) {
	for _, one := range slices.Backward(places) {
		one.leave()
	}
}

// keepingShare is how many of so many fills may be of images that are kept as they are: not all, where there is more than one
// place, so that who downloads keeps nobody from a volume.
func keepingShare(most int) int { return (most + 1) / 2 }

// idle tells whether a fill that began now would get a place at once.
func (fl *fills) idle() bool {
	_, now := fl.places.free()
	return now
}

// limit is how many fills read and write at once, at most.
func (fl *fills) limit() int {
	most, _ := fl.places.free()
	return most
}

// setLimit lets so many fills read and write at once from now on.
func (fl *fills) setLimit(most int) {
	fl.places.resize(most)
	fl.keeping.resize(keepingShare(most))
}
