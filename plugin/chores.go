package plugin

import (
	"context"
	"sync"
	"time"
)

// choresEvery is how often detached image-volumes are looked at, and left-over evictions and intents.
const choresEvery = time.Minute

// chores are what goes on beside requests, again and again, until base ends. They own the goroutines, and nothing
// else.
type chores struct {
	*house
	going sync.WaitGroup
}

// every calls do at each interval, and when it is asked to by now.
func (c *chores) every(interval time.Duration, now <-chan struct{}, do func(context.Context)) {
	c.going.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-c.base.Done():
				return
			case <-now:
			case <-tick.C:
			}
			do(c.base)
		}
	})
}

// wait returns when none of them goes on any more: base has ended.
func (c *chores) wait() { c.going.Wait() }

// doChores ends what waited for something: clones that went, backends that came back.
func (p *Plugin) doChores(ctx context.Context) {
	p.stock.tend(ctx)
	p.fills.tend(ctx)
	p.queue.tend(ctx)
	p.ladder.settleOpen(ctx)
	p.reconciler.inherit(ctx)
	p.reconciler.reconcileLeft(ctx)
}
