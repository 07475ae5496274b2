package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// Plugin is the open cache. Its methods may be called from several goroutines.
type Plugin struct {
	*house
	lock *StateLock // nil: the caller's
	gate gate

	attendance *attendance
	books      *books
	chores     chores
	reconciler *reconciler

	stock   *stock
	remover *remover
	fills   *fills
	ladder  *ladder
	queue   *queue
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
	p := &Plugin{house: newHouse(cfg)}
	if err := p.build(); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// build makes the parts, each of which knows those before it.
func (p *Plugin) build() (err error) {
	p.chores = chores{house: p.house}
	if p.stock, err = newStock(p.house); err != nil {
		return err
	}
	from, err := newSources(p.cfg.Log, p.cfg.Sources, p.cfg.FreshFor)
	if err != nil {
		return err
	}
	if err := p.stock.storesNow().checkGroups(p.cfg.Groups); err != nil {
		return err
	}
	p.books = newBooks(p.house, p.stock.label)
	if p.fills, err = newFills(p.house, p.books, p.stock); err != nil {
		return err
	}
	p.ladder = newLadder(p.house, p.books, p.stock, p.fills, from)
	p.queue = newQueue(p.house, p.books, p.stock, p.fills, from, &p.gate)
	if err := p.queue.following().set(p.cfg.Follows); err != nil {
		return err
	}
	p.reconciler = newReconciler(p.house, p.books, p.stock, p.fills, p.ladder)
	p.attendance = &attendance{house: p.house, stock: p.stock, leftOut: p.reconciler.leftOut}
	p.remover = &remover{house: p.house, books: p.books, stock: p.stock, changed: make(chan struct{}, 1)}
	p.stock.know(p.books, p.fills.bytesRead, p.reconciler.leftOut, p.reconciler.back)
	return nil
}

// start is Open after the configuration was found good.
func (p *Plugin) start(ctx context.Context) (err error) {
	if p.cfg.Lock == nil {
		if p.lock, err = LockState(p.cfg.StateDir); err != nil {
			return err
		}
	}
	if err := p.fills.open(); err != nil {
		return err
	}
	if err := p.openHouse(ctx); err != nil {
		return err
	}
	if err := p.stock.openDamaged(p.cfg.StateDir); err != nil {
		return err
	}
	if err := p.reconciler.recover(ctx); err != nil {
		return err
	}
	if err := errors.Join(p.stock.readPaused(ctx), p.stock.quarantineRemembered(ctx), p.stock.readQuarantined(ctx), p.queue.resume(ctx)); err != nil {
		return err
	}
	p.chores.every(p.cfg.FlushEvery, p.books.due(), p.books.flushLater)
	p.chores.every(choresEvery, nil, p.doChores)
	p.chores.every(p.beatEvery(), nil, p.attendance.beat)
	p.chores.every(pausedEvery, nil, p.stock.lookForPaused)
	p.chores.every(pausedEvery, nil, p.stock.lookForQuarantined)
	p.chores.every(scrubTick, nil, p.reconciler.scrubs().run)
	p.chores.every(cleanTick, nil, p.reconciler.cleans().run)
	p.chores.every(sweepEvery, nil, p.queue.sweeper().sweep)
	p.chores.every(ageEvery, p.remover.hurried(), p.remover.keepWithin)
	p.chores.every(followTick, p.queue.following().due(), p.queue.following().lookDue)
	p.chores.every(p.cfg.QueueEvery, p.queue.due(), p.queue.dispatch)
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
		p.fills.wait()
		p.stock.waitForGrowths()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		p.log.WithField("fills", len(p.fills.here())).Warn("time to stop is over; fills in flight are undone")
	}
	p.end()
	<-ended
	flush, cancel := p.cleanup(ctx)
	defer cancel()
	p.books.note(catalog.Event{Kind: EventStopped, Detail: "host " + p.cfg.Host})
	p.books.lastEvent(flush)
	p.chores.wait()
	p.queue.following().wait()
	p.gate.waitForFollowers()
	return errors.Join(p.books.flush(flush), p.release())
}

// release closes what start opened, in the reverse order.
func (p *Plugin) release() error {
	p.ladder.closeSources()
	problems := []error{p.books.close(), p.closeHouse()}
	if p.lock != nil {
		problems = append(problems, p.lock.Unlock())
	}
	return errors.Join(problems...)
}
