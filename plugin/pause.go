package plugin

import (
	"context"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// pausedEvery is how often it is looked whether another daemon has put a store out of use, or into use.
const pausedEvery = 10 * time.Second

// Draining says whether fills that go on are waited for.
type Draining bool

// DisableBackend puts a backend, or a file cache, out of use for all daemons on the catalog, until EnableBackend:
// requests for it step aside, nothing is filled, and nothing goes there for room, for quota, by age or by Prune. Others
// hear of it within seconds. Fills that go on come to their end, and what people delete by name goes. ErrUnknownBackend; backends.ErrUnavailable: it has not been open yet.
func (c Controls) DisableBackend(ctx context.Context, name backends.Name) error {
	return c.p.stock.pause(ctx, name, c.p.catalog.Pause)
}

// EnableBackend puts it into use again; one with Disabled in its configuration stays out of use.
func (c Controls) EnableBackend(ctx context.Context, name backends.Name) error {
	err := c.p.stock.pause(ctx, name, c.p.catalog.Resume)
	c.p.queue.poke()
	return err
}

// DrainBackend waits until no fill goes on in a backend, or a file cache, in this process. The error is ctx's.
// ErrUnknownBackend.
func (c Controls) DrainBackend(ctx context.Context, name backends.Name) error {
	s, err := c.p.stock.anyNamed(name)
	if err != nil {
		return err
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for c.p.fills.busy(s.name) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// busy tells whether a fill goes on in a store, in this process.
func (fl *fills) busy(name backends.Name) bool {
	for _, v := range fl.here() {
		if v.Backend == name {
			return true
		}
	}
	return false
}

// anyNamed is a backend or file cache; where there is only one backend, it needs no name. ErrUnknownBackend.
func (ro *roster) anyNamed(name backends.Name) (*store, error) {
	if s := ro.named(name); s != nil {
		return s, nil
	}
	if name != "" {
		return nil, ro.unknown(name)
	}
	return ro.backendNamed(name)
}

// pause lets note say of a store whether it is in use, and believes it.
func (ro *roster) pause(ctx context.Context, name backends.Name, note func(context.Context, backends.StoreID) error) error {
	s, err := ro.anyNamed(name)
	if err != nil {
		return err
	}
	if s.id() == "" {
		if err := ro.ensure(ctx, s); err != nil {
			return err
		}
	}
	if err := note(ctx, s.id()); err != nil {
		return err
	}
	return ro.readPaused(ctx)
}

// readPaused finds out which stores are in use.
func (ro *roster) readPaused(ctx context.Context) error {
	paused, err := ro.catalog.Paused(ctx)
	if err != nil {
		return err
	}
	for _, s := range ro.everyStore() {
		_, is := paused[s.id()]
		if was := s.paused.Swap(is); was != is {
			ro.log.WithFields(map[string]any{"backend": s.name, "disabled": is}).Warn("backend is put out of use, or into use again")
		}
	}
	return nil
}

// lookForPaused is readPaused, again and again.
func (ro *roster) lookForPaused(ctx context.Context) {
	if err := ro.readPaused(ctx); err != nil && ctx.Err() == nil {
		ro.log.WithError(err).Warn("not known which backends are out of use; trying again")
	}
}

// leaveUnused adds a store that is out of use to those that an answer about all of them leaves out, and tells whether it is.
func (ro *roster) leaveUnused(list *[]UnavailableView, s *store) bool {
	why := s.outOfUse()
	if why != nil {
		*list = append(*list, UnavailableView{Name: s.name, Since: ro.now().UTC(), Error: why.Error()})
	}
	return why != nil
}

// outOfUse steps aside where somebody has put the store out of use.
func (s *store) outOfUse() error {
	switch leaving := s.leaving.Load(); {
	case leaving != nil:
		return &stepAside{reason: ReasonDisabled, detail: string(s.name) + " " + leaving.why}
	case s.limit().disabled:
		return &stepAside{reason: ReasonDisabled, detail: string(s.name) + " is out of use: enabled = false in the configuration"}
	case s.paused.Load():
		return &stepAside{reason: ReasonDisabled, detail: string(s.name) + " is out of use until `clonecache backend enable " + string(s.name) + "`"}
	}
	return nil
}
