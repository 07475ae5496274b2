package openstack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecache/clonecache/internaltenant"
)

// waits are the pauses between looks at a volume, which cost Cinder 15 ms each: 50 to 100 ms for as long as it
// takes Cinder to make one (0.2 s, 1.3 s where it is busy), growing to 1 s after that.
type waits struct {
	next     time.Duration
	waited   time.Duration
	patience time.Duration
	until    time.Time
}

func newWaits(patience time.Duration) *waits {
	return &waits{next: 50 * time.Millisecond, patience: patience, until: time.Now().Add(patience)}
}

// pause waits a little. ErrUnavailable: patience is at its end. Else ctx's error.
func (w *waits) pause(ctx context.Context) error {
	if time.Now().After(w.until) {
		return fmt.Errorf("%w: Cinder has not done it within %v", internaltenant.ErrUnavailable, w.patience)
	}
	timer := time.NewTimer(w.next)
	defer timer.Stop()
	w.waited += w.next
	w.next = min(w.next*5/4, w.longest())
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *waits) longest() time.Duration {
	const soon = 3 * time.Second
	if w.waited < soon {
		return 100 * time.Millisecond
	}
	return time.Second
}

// locks keeps two from making the volume of one claim.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when it is given back
}

// lock waits for a name, unless ctx ends.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		busy, taken := l.held[name]
		if !taken && ctx.Err() == nil {
			mine := make(chan struct{})
			if l.held == nil {
				l.held = make(map[string]chan struct{})
			}
			l.held[name] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, name)
				l.mu.Unlock()
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// doomed are volumes of claims that came to nothing, which could not be removed at once. They are tried
// again whenever claims are listed; after a restart they are claims that no entry names.
type doomed struct {
	mu    sync.Mutex
	ids   map[string]bool
	specs []internaltenant.ClaimSpec // whose volume may have appeared after its answer was lost
}

func (d *doomed) addID(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = make(map[string]bool)
	}
	d.ids[id] = true
}

func (d *doomed) add(spec internaltenant.ClaimSpec) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.specs = append(d.specs, spec)
}

// take empties the list.
func (d *doomed) take() (ids []string, specs []internaltenant.ClaimSpec) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.ids {
		ids = append(ids, id)
	}
	specs = d.specs
	d.ids, d.specs = nil, nil
	return ids, specs
}

// removeDoomed tries again what could not be removed; what still cannot stays on the list. It does not take
// long.
func (o *Owner) removeDoomed(ctx context.Context, c *cinder) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ids, specs := o.doomed.take()
	for _, spec := range specs {
		v, err := c.find(ctx, spec)
		switch {
		case err == nil:
			ids = append(ids, v.ID)
		case !errors.Is(err, errNoVolume):
			o.doomed.add(spec)
		}
	}
	for _, id := range ids {
		if err := c.remove(ctx, id, patience); err != nil {
			o.doomed.addID(id)
		}
	}
}
