package cinder

import (
	"context"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// Lend implements backends.Lender: the earliest generation that takes clones, so that the later ones fall idle first.
func (b *Backend) Lend(ctx context.Context, id backends.ImageVolumeID, at backends.Place) (backends.Lent, error) {
	lent, known, err := b.shelf.lend(id, b.wanted(at))
	if known {
		return lent, err
	}
	if _, err := b.find(ctx, id); err != nil {
		return backends.Lent{}, fmt.Errorf("lend: %w", err)
	}
	lent, known, err = b.shelf.lend(id, b.wanted(at))
	if !known {
		return backends.Lent{}, fmt.Errorf("lend image-volume %s: %w", id, backends.ErrNotExist)
	}
	return lent, err
}

// request is what a generation must be like to be lent.
type request struct {
	at        backends.Place
	across    Across
	maxClones int
	again     time.Duration
	now       time.Time
}

func (b *Backend) wanted(at backends.Place) request {
	return request{at: at, across: b.c.Across, maxClones: b.c.MaxClones, again: b.c.AgainAfter, now: b.c.Now()}
}

// lend takes a generation of an image-volume that is known to be committed, and counts the clone. ErrLimit, ErrElsewhere.
func (s *shelf) lend(id backends.ImageVolumeID, r request) (lent backends.Lent, known bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.known[id]
	if f == nil {
		return backends.Lent{}, false, nil
	}
	if !f.committed || f.generations[0].number != 1 { // when it was last looked at
		delete(s.known, id)
		return backends.Lent{}, false, nil
	}
	g, err := f.taking(r)
	if err != nil {
		return backends.Lent{}, true, fmt.Errorf("lend image-volume %s: %w", id, err)
	}
	g.clones++
	return backends.Lent{Generation: g.id, Place: g.place}, true, nil
}

// taking is the first generation that takes a clone. ErrLimit, ErrElsewhere.
func (f *family) taking(r request) (*generation, error) {
	var elsewhere *generation
	near := false
	for _, g := range f.generations {
		switch {
		case !g.ready:
		case !r.near(g.place):
			elsewhere = g
		case r.takes(g):
			return g, nil
		default:
			near = true
		}
	}
	if elsewhere != nil && !near {
		return nil, fmt.Errorf("%w: it lies in %s, and the volume is to be in %s; give each place a volume type and a backend of its own", backends.ErrElsewhere, elsewhere.place, r.at)
	}
	return nil, fmt.Errorf("%w: all %d generations are full", backends.ErrLimit, len(f.generations))
}

// takes tells whether a generation may be tried. A full one is, after some time, and then counts anew.
func (r request) takes(g *generation) bool {
	if r.now.Before(g.fullUntil) {
		return false
	}
	if !g.fullUntil.IsZero() {
		g.fullUntil, g.clones = time.Time{}, 0
	}
	if r.maxClones > 0 && g.clones >= r.maxClones {
		g.fullUntil = r.now.Add(r.again)
		return false
	}
	return true
}

// near tells whether a clone can be made there. Where either place is not known, the driver finds out.
func (r request) near(place backends.Place) bool {
	if r.at == "" || place == "" || r.at == place {
		return true
	}
	return r.across == WithinBackend && r.at.Backend() == place.Backend()
}

// Generations implements backends.Lender.
func (b *Backend) Generations(id backends.ImageVolumeID) []backends.Lent {
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	f := b.shelf.known[id]
	if f == nil {
		return nil
	}
	all := make([]backends.Lent, len(f.generations))
	for i, g := range f.generations {
		all[i] = backends.Lent{Generation: g.id, Place: g.place}
	}
	return all
}

// Returned implements backends.Lender.
func (b *Backend) Returned(id backends.ImageVolumeID, of backends.GenerationID, how backends.Return) {
	if how == backends.Gone {
		b.shelf.forget(id)
		return
	}
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	f := b.shelf.known[id]
	if f == nil {
		return
	}
	for _, g := range f.generations {
		switch {
		case g.id != of || how == backends.Made:
		case how == backends.Full:
			g.fullUntil, g.clones = b.c.Now().Add(b.c.AgainAfter), max(g.clones-1, 0)
		default:
			g.clones = max(g.clones-1, 0)
		}
	}
}

// Next implements backends.Lender.
func (b *Backend) Next(ctx context.Context, id backends.ImageVolumeID) (int, error) {
	f, err := b.find(ctx, id)
	if err != nil {
		return 0, err
	}
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	for _, g := range f.generations {
		if g.ready && b.wanted("").takes(g) {
			return 0, fmt.Errorf("image-volume %s: generation %d takes clones: %w", id, g.number, backends.ErrExist)
		}
	}
	return f.generations[len(f.generations)-1].number + 1, nil
}

// Grow implements backends.Lender.
func (b *Backend) Grow(ctx context.Context, id backends.ImageVolumeID, adopt backends.VolumeName) (backends.ImageVolume, error) {
	v, err := b.adoptable(ctx, adopt)
	if err == nil {
		v, err = b.await(ctx, v.ID, b.c.FillTime)
	}
	if err == nil {
		err = b.note(ctx, v.ID, map[string]string{metaImageVolume: string(id)})
	}
	if err != nil {
		return backends.ImageVolume{}, fmt.Errorf("another generation of image-volume %s: %w", id, err)
	}
	return b.StatImageVolume(ctx, id)
}
