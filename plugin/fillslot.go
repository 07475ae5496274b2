package plugin

import (
	"time"

	"github.com/clonecache/clonecache/backends"
)

// turnFor is the turn that a fill into s needs: among those of its backend, of its image's source where that has a bound, and
// of all. One that keeps bytes as they are needs a place among those of downloads too. One whose bytes another service reads
// needs its backend's alone.
func (fl *fills) turnFor(s *store, want *wanted) *fillTurn {
	t := &fillTurn{line: fl.line, own: []bounded{{fl.slotInto(s), BoundBackend}}}
	if filledByService(s) {
		return t
	}
	source := fl.limits.of(want.image.Source)
	if want.asItIs() {
		if source.keeping != nil {
			t.own = append(t.own, bounded{source.keeping, BoundSource})
		}
		t.wide = append(t.wide, bounded{fl.keeping, BoundFills})
	}
	if source.places != nil {
		t.own = append(t.own, bounded{source.places, BoundSource})
	}
	t.wide = append(t.wide, bounded{fl.places, BoundFills})
	return t
}

// filledByService tells that another service fills image-volumes of s from images by itself.
func filledByService(s *store) bool {
	_, is := backends.Capability[backends.Filler](s.images)
	return is
}

// keepingShare is how many of so many fills may be of images that are kept as they are: not all, where there is more than one
// place, so that who downloads keeps nobody from a volume.
func keepingShare(most int) int { return (most + 1) / 2 }

// idle tells whether a fill that began now would get a place among all at once.
func (fl *fills) idle() bool {
	_, now := fl.places.size()
	return now
}

// limit is how many fills read and write at once, at most.
func (fl *fills) limit() int {
	most, _ := fl.places.size()
	return most
}

// slotInto is the place of fills into a store, which may have come just now.
func (fl *fills) slotInto(s *store) *slot {
	if s.into.Load() == nil {
		s.into.CompareAndSwap(nil, fl.line.slot(s.limit().maxFills))
	}
	return s.into.Load()
}

// placesInto is how many fills go into a store at once, at most, and whether another one would have to wait.
func (fl *fills) placesInto(s *store) (most int, crowded bool) {
	p := fl.slotInto(s)
	most, _ = p.size()
	return most, p.crowded()
}

// setLimit lets so many fills read and write at once from now on.
func (fl *fills) setLimit(most int) {
	fl.places.resize(most)
	fl.keeping.resize(keepingShare(most))
}

// setProjectLimit lets each project have so many fills from now on; 0: no bound.
func (fl *fills) setProjectLimit(most int) { fl.projects.resize(most) }

// setOwnLimits lets so many fills go into each store at once as its limits say now.
func (fl *fills) setOwnLimits() {
	for _, s := range fl.stock.orderedStores() {
		fl.slotInto(s).resize(s.limit().maxFills)
	}
}

// progress is how far the fill is.
func (f *flight) progress(phase string, now time.Time) Progress {
	read, total, waits := f.read.Load(), f.total.Load(), f.waitsFor()
	if waits != "" {
		phase = "waiting"
	}
	return Progress{Phase: phase, WaitsFor: waits, ReadBytes: read, TotalBytes: total, Written: f.written.Load(), Rate: f.pace.rate(now), ETA: f.pace.eta(now, read, total)}
}

// waitsFor is what keeps the fill from beginning; "": nothing.
func (f *flight) waitsFor() Bound {
	if held := f.project.waitsFor(); held != "" {
		return held
	}
	if t := f.turn.Load(); t != nil {
		return t.waitsFor()
	}
	return ""
}
