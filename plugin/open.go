package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// Plugin is the open cache. Its methods may be called from several goroutines.
type Plugin struct {
	*house
	lock  *StateLock // nil: the caller's
	begun time.Time
	gate  gate

	books      *books
	chores     chores
	reconciler *reconciler

	scratch diskimage.Scratch
	sources *sources

	stores   map[backends.Name]*store // backends and file caches
	labels   labels
	placing  sync.Mutex      // held by the store that takes its place among the others
	backends []backends.Name // backends alone, as configured

	running   sync.WaitGroup // fills
	flights   flights
	fillSlots chan struct{}
	quotaTurn chan struct{}      // held by the one for whose claim entries go
	renewing  singleflight.Group // entries that are inspected again
	open      openIntents
	names     names // whose turn it is to make a volume
}

// Open locks StateDir, opens catalog and journal, settles what an earlier process left in flight,
// reconciles catalog, backends and quota, and is ready to serve.
//
// A catalog that is lost or damaged is rebuilt from what the image-volumes say of themselves; a damaged
// one is kept beside it. A backend that does not answer does not keep the others from being served.
// ErrLocked: another process has this StateDir open. ErrBadRequest: the configuration is wrong.
func Open(ctx context.Context, cfg Config) (*Plugin, error) {
	p, err := newPlugin(cfg)
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		p.end()
		return nil, errors.Join(err, p.release())
	}
	return p, nil
}

// newPlugin checks the configuration and fills in its defaults. It touches nothing.
func newPlugin(cfg Config) (*Plugin, error) {
	if cfg.StateDir == "" {
		return nil, fmt.Errorf("%w: StateDir is needed", ErrBadRequest)
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	stores, err := newStores(cfg)
	if err != nil {
		return nil, err
	}
	h := newHouse(cfg)
	p := &Plugin{
		house: h, begun: cfg.Now(), chores: chores{house: h}, stores: stores,
		flights:   flights{byKey: make(map[flightKey]*flight)},
		names:     names{busy: make(map[volumeKey]*turn)},
		fillSlots: make(chan struct{}, cfg.FillLimit), quotaTurn: make(chan struct{}, 1),
	}
	p.books = newBooks(h, p.label)
	p.reconciler = newReconciler(p)
	for _, b := range cfg.Backends {
		p.backends = append(p.backends, b.Name)
	}
	if p.sources, err = newSources(cfg.Log, cfg.Sources); err != nil {
		h.end()
		return nil, err
	}
	return p, nil
}

// start is Open after the configuration was found good.
func (p *Plugin) start(ctx context.Context) (err error) {
	if p.cfg.Lock == nil {
		if p.lock, err = LockState(p.cfg.StateDir); err != nil {
			return err
		}
	}
	if p.scratch, err = diskimage.NewDirScratch(p.cfg.ScratchDir, p.cfg.ScratchMaxBytes); err != nil {
		return err
	}
	if err := p.openHouse(ctx); err != nil {
		return err
	}
	if err := p.reconciler.recover(ctx); err != nil {
		return err
	}
	p.chores.every(p.cfg.FlushEvery, p.books.due(), p.books.flushLater)
	p.chores.every(choresEvery, nil, p.doChores)
	return nil
}

// Close stops taking requests, lets those and their fills end until ctx is done, then undoes what has not
// ended, counts what was answered, and closes what Open opened. The backends are the caller's to close.
func (p *Plugin) Close(ctx context.Context) error {
	if !p.gate.shut() {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		p.gate.wait()
		p.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		p.log.WithField("fills", len(p.flights.views())).Warn("time to stop is over; fills in flight are undone")
	}
	p.end()
	<-ended
	flush, cancel := p.cleanup(ctx)
	defer cancel()
	p.books.note(catalog.Event{Kind: EventStopped, Detail: "host " + p.cfg.Host})
	p.books.lastEvent(flush)
	p.chores.wait()
	p.gate.waitForFollowers()
	return errors.Join(p.books.flush(flush), p.release())
}

// release closes what start opened, in the reverse order.
func (p *Plugin) release() error {
	p.sources.close()
	problems := []error{p.books.close(), p.closeHouse()}
	if p.lock != nil {
		problems = append(problems, p.lock.Unlock())
	}
	return errors.Join(problems...)
}
