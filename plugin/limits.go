package plugin

import (
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// limits are what the configuration lets a store hold and do. They are never changed: a reload puts others in their
// place, and who began under these ends under these.
type limits struct {
	bounds       lru.Bounds
	maxIdle      time.Duration // Prune removes what was not used for so long; 0: nothing
	removeUnused time.Duration // so do the chores
	timeout      time.Duration // of a request that brings no earlier deadline; 0: none
	waiting      waitingSlots
	maxFills     int  // into the store at a time; 0: no bound
	keepForQuota bool // nobody goes where the internal tenant's quota refuses an image-volume
	shareAll     bool
	disabled     bool // out of use
}

// limitsOf are those of a backend's configuration. ErrBadRequest.
func limitsOf(c BackendConfig) (*limits, error) {
	if c.MaxWaiting < 0 {
		return nil, fmt.Errorf("%w: backend %q: MaxWaiting is negative", ErrBadRequest, c.Name)
	}
	if c.MaxFills < 0 {
		return nil, fmt.Errorf("%w: backend %q: MaxFills is negative", ErrBadRequest, c.Name)
	}
	l := &limits{
		bounds: c.Bounds, maxIdle: c.MaxIdle, removeUnused: c.RemoveUnusedAfter, timeout: c.RequestTimeout, maxFills: c.MaxFills,
		keepForQuota: c.KeepForQuota, shareAll: c.ShareAll, disabled: c.Disabled,
	}
	if c.MaxWaiting > 0 {
		l.waiting = make(waitingSlots, c.MaxWaiting)
	}
	return l, nil
}

// limitsOfCache are those of a file cache's configuration.
func limitsOfCache(c FileCacheConfig) *limits {
	if c.Bounds.MaxBytes == 0 {
		c.Bounds.MaxBytes = defaultFileCacheBytes
	}
	return &limits{bounds: c.Bounds, maxIdle: c.MaxIdle, removeUnused: c.RemoveUnusedAfter}
}

// limit are the limits of now.
func (s *store) limit() *limits { return s.limits.Load() }

// Limits are what of a Config can be changed while requests are served.
type Limits struct {
	// Backends and FileCaches are found by their names; what they are made of, their fallbacks and volume types stay. One that
	// there is not yet comes, opened as for a Config: it is bound before anybody may ask for it. It is the caller's to close,
	// at once where SetLimits fails.
	Backends   []BackendConfig
	FileCaches []FileCacheConfig
	// Gone are those that go: nobody may ask for them from now on, and who did, and the fills in them, come to their end.
	// They are left open: the caller closes them after Close. Given again before that, they come back.
	Gone      []backends.Name
	Groups    []GroupConfig
	Follows   []FollowConfig
	FillLimit int // 0: the default
	// CleanEvery is as in a Config.
	CleanEvery time.Duration
	// ProjectFillLimit is as in a Config.
	ProjectFillLimit int
	// Sources are all image sources that there are from now on, with FreshFor and SourceLimits as in a Config. One that is there
	// already stays as it is, with what is known of it. Nil: all stay, as do FreshFor and SourceLimits.
	Sources      []imagesource.Source
	FreshFor     map[string]time.Duration
	SourceLimits map[string]SourceLimit
}

// Controls are what a person sees to while the cache serves: its limits, what is in use, what is read back, and why a volume
// came to be as it is. Its methods may be called from several goroutines.
type Controls struct{ p *Plugin }

// Controls are those of this cache.
func (p *Plugin) Controls() Controls { return Controls{p} }

// SetLimits puts other limits in the place of those of now, all or none. Requests and fills that have begun go on as they
// began; what is over a lowered bound goes within moments. ErrBadRequest: one of them is wrong, or of no store that
// there is, or a store that comes is, or lies where, another one is. backends.ErrHeld: it is another installation's.
// ErrStopping.
func (c Controls) SetLimits(l Limits) error {
	leave, open := c.p.gate.enter()
	if !open {
		return ErrStopping
	}
	defer leave()
	if l.FillLimit < 0 || l.ProjectFillLimit < 0 {
		return fmt.Errorf("%w: FillLimit or ProjectFillLimit is negative", ErrBadRequest)
	}
	setDefault(&l.FillLimit, defaultFills)
	setDefault(&l.CleanEvery, defaultCleanEvery)
	if err := checkSourceLimits(l.SourceLimits); err != nil {
		return err
	}
	change, err := c.p.stock.change(c.p.base, l)
	if err != nil {
		return err
	}
	undo, done, err := c.p.ladder.changeSources(l.Sources, l.FreshFor)
	if err != nil {
		change.undo(c.p.base)
		return err
	}
	if err := c.setAmong(l, change); err != nil {
		change.undo(c.p.base)
		undo()
		return err
	}
	if l.Sources != nil {
		c.p.fills.setSourceLimits(l.SourceLimits)
	}
	c.p.fills.setLimit(l.FillLimit)
	c.p.fills.setProjectLimit(l.ProjectFillLimit)
	c.p.fills.setOwnLimits()
	c.p.reconciler.cleans().set(l.CleanEvery)
	done()
	for s, d := range change.done() {
		c.p.chores.going.Go(func() { c.seeOff(s, d) })
	}
	c.p.queue.poke()
	c.p.remover.hurry()
	return nil
}

// setAmong is SetLimits, but for sources and fills, among the sources and the stores that are to be. An error changes nothing,
// once change is undone.
func (c Controls) setAmong(l Limits, change *storeChange) error {
	change.begin()
	was := c.p.queue.setGroups(l.Groups)
	err := c.p.queue.following().checkAll(l.Follows)
	if err == nil {
		err = c.p.stock.setLimits(l)
	}
	if err != nil {
		c.p.queue.setGroups(was)
		return err
	}
	return c.p.queue.following().set(l.Follows)
}

// seeOff lets a store leave once nobody who had found it is inside, and no fill goes on in it. The next start does without
// it anyway.
func (c Controls) seeOff(s *store, d *departure) {
	c.p.gate.passed()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for s.fills.Load() > 0 || c.p.stock.isFallback(s) {
		select {
		case <-tick.C:
		case <-c.p.base.Done():
			return
		}
	}
	if c.p.stock.left(s, d) {
		c.p.log.WithField("backend", s.name).Info("it has left the configuration, and nothing goes on in it any more")
		c.tellOthers()
	}
}

// tellOthers is tellStores, until that succeeds or Close is called.
func (c Controls) tellOthers() {
	for {
		err := c.p.stock.tellStores(c.p.base)
		if err == nil || c.p.stopped() {
			return
		}
		c.p.log.WithError(err).Warn("other hosts are not told yet which backends are configured here; trying again")
		select {
		case <-time.After(pausedEvery):
		case <-c.p.base.Done():
			return
		}
	}
}

// setLimits gives each store that is named its limits, once all of them are found good. ErrBadRequest.
func (ro *roster) setLimits(l Limits) error {
	next := make(map[backends.Name]*limits)
	for _, c := range l.Backends {
		own, err := limitsOf(c)
		if err != nil {
			return err
		}
		next[c.Name] = own
	}
	for _, c := range l.FileCaches {
		next[c.Name] = limitsOfCache(c)
	}
	for name := range next {
		if !ro.isConfigured(name) {
			return fmt.Errorf("%w: there is no backend or file cache %q", ErrBadRequest, name)
		}
	}
	for name, own := range next {
		s := ro.named(name)
		if was := s.limit(); cap(was.waiting) == cap(own.waiting) {
			own.waiting = was.waiting // who waits holds a place there
		}
		s.limits.Store(own)
	}
	return nil
}
