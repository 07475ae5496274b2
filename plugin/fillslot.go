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

// slotFor is the place that a fill needs: among those of its image's source where it has a bound, among those of
// downloads where it keeps bytes as they are, and among all.
func (fl *fills) slotFor(want *wanted) fillSlot {
	var places []*slots
	if own := fl.limits.of(want.image.Source).places; own != nil {
		places = append(places, own)
	}
	if want.asItIs() {
		places = append(places, fl.keeping)
	}
	return fillSlot{places: append(places, fl.places)}
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

// keepingShare is how many of the fills may be of images that are kept as they are: not all, where there is more than one
// place, so that who downloads keeps nobody from a volume.
func keepingShare(most int) int { return (most + 1) / 2 }

// idle tells whether a fill that began now would get a place at once.
func (fl *fills) idle() bool {
	_, now := fl.places.free()
	return now
}

// idleForKeeping is idle for one that keeps an image as it is.
func (fl *fills) idleForKeeping() bool {
	_, now := fl.keeping.free()
	return now && fl.idle()
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
