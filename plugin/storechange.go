package plugin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/clonecache/clonecache/backends"
)

// Stores come and go while requests are served. One that comes is bound, as at a start, before anybody finds it; one that
// goes is found by nobody from then on, and leaves once nothing is under way on it. Which there are is one pointer, so
// that a request takes no lock for it.

// departure is one leaving of a store. A store that is configured again before it has left stays, and may leave once more.
type departure struct{ why string }

// isLeaving tells that the store is not configured any more, though something on it has not ended.
func (s *store) isLeaving() bool { return s.leaving.Load() != nil }

// storesNow are the stores of now.
func (ro *roster) storesNow() *storeSet { return ro.stores.Load() }

// storeChange puts other stores in the place of those of now. Either undo or done ends it, and lets the next one begin.
type storeChange struct {
	stock  *stock
	was    *storeSet
	next   *storeSet
	coming []*store // new ones
	back   []*store // that had not left yet
	going  []*store
}

// change prepares what the limits say of the stores there are: it binds those that come, and changes nothing for anybody
// else. ErrBadRequest; backends.ErrHeld: one that comes is another installation's.
func (k *stock) change(ctx context.Context, l Limits) (*storeChange, error) {
	k.changing.Lock()
	c := &storeChange{stock: k, was: k.stores.Load()}
	err := c.plan(l)
	if err == nil {
		err = c.next.checkGroups(l.Groups)
	}
	if err == nil && len(c.coming) > 0 {
		err = c.bind(ctx)
	}
	if err != nil {
		c.undo(ctx)
		return nil, err
	}
	return c, nil
}

// plan makes the set that is to be. ErrBadRequest.
func (c *storeChange) plan(l Limits) error {
	c.next = c.was.copied()
	for _, name := range l.Gone {
		s := c.next.byName[name]
		if s == nil {
			return fmt.Errorf("%w: there is no backend or file cache %q", ErrBadRequest, name)
		}
		c.next.drop(s)
		c.going = append(c.going, s)
	}
	more, caches, err := c.newcomers(l)
	if err != nil {
		return err
	}
	before := c.next
	if c.next, err = before.with(more, caches); err != nil {
		return err
	}
	for _, s := range c.next.ordered() {
		switch {
		case s.fallback != nil && c.next.byName[s.fallback.name] != s.fallback:
			return fmt.Errorf("%w: %s is the fallback of backend %s, which stays", ErrBadRequest, s.fallback.name, s.name)
		case before.byName[s.name] == nil:
			c.coming = append(c.coming, s)
		}
	}
	return nil
}

// newcomers are what the limits have of stores that are not configured, but for those that come back. ErrBadRequest.
func (c *storeChange) newcomers(l Limits) (more []BackendConfig, caches []FileCacheConfig, err error) {
	for _, f := range l.FileCaches {
		if back, err := c.cameBack(f.Name, f.Cache, ""); back || err != nil {
			if err != nil {
				return nil, nil, err
			}
			continue
		}
		if f.Cache != nil && c.next.byName[f.Name] == nil {
			caches = append(caches, f)
		}
	}
	for _, b := range l.Backends {
		if back, err := c.cameBack(b.Name, b.Backend, b.Fallback); back || err != nil {
			if err != nil {
				return nil, nil, err
			}
			continue
		}
		if b.Backend != nil && c.next.byName[b.Name] == nil {
			more = append(more, b)
		}
	}
	return more, caches, nil
}

// cameBack configures a store again that has not left yet, and tells whether it is one. Another one of its name has to wait,
// unless the one that leaves was never open: nothing has begun on that. ErrBadRequest.
func (c *storeChange) cameBack(name backends.Name, is backends.Store, fallback backends.Name) (bool, error) {
	at := slices.IndexFunc(c.was.leaving, func(s *store) bool {
		return s.name == name && isSame(s.images, is) && s.fallback == c.next.byName[fallback]
	})
	if at < 0 {
		if slices.ContainsFunc(c.was.leaving, func(s *store) bool { return s.name == name && s.down() == nil }) {
			return false, fmt.Errorf("%w: what was %s until now has not left yet, since requests or fills that had begun go on; reload once the log says that it has, or configure it as it was", ErrBadRequest, name)
		}
		return false, nil
	}
	s := c.was.leaving[at]
	c.next.leaving = slices.DeleteFunc(c.next.leaving, func(o *store) bool { return o == s })
	c.next.configure(s)
	c.back = append(c.back, s)
	return true, nil
}

func isSame(a, b backends.Store) bool {
	return a != nil && b != nil && reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// bind finds out which stores those that come are, and lets what lies on them be served. One that does not answer is bound
// later, as at a start. From now on they are found by their IDs: who does is told to go another way until done, since they are
// closed where the change fails.
func (c *storeChange) bind(ctx context.Context) error {
	k := c.stock
	for _, s := range c.coming {
		s.leaving.Store(&departure{why: "is being added"})
	}
	with := c.was.copied()
	with.coming = c.coming
	k.stores.Store(with)
	if err := k.identifyAll(ctx, c.coming, cleanupTime); err != nil {
		return err
	}
	sure := slices.DeleteFunc(slices.Clone(c.coming), func(s *store) bool { return !s.sure() })
	for _, s := range sure {
		if err := k.bindStore(ctx, s); err != nil {
			return err
		}
	}
	return errors.Join(k.tellStores(ctx), k.readLabels(ctx), k.loadView(ctx, sure...), k.readPaused(ctx), k.quarantineRemembered(ctx), k.readQuarantined(ctx))
}

// begin lets requests find the stores that are to be. Who asks for one that comes is told to go its usual way until done.
func (c *storeChange) begin() { c.stock.stores.Store(c.next) }

// undo leaves the stores as they were.
func (c *storeChange) undo(ctx context.Context) {
	k := c.stock
	bound := len(k.stores.Load().coming) > 0 || k.stores.Load() == c.next
	k.stores.Store(c.was)
	if bound && len(c.coming) > 0 {
		ctx, cancel := k.cleanup(ctx)
		defer cancel()
		k.unmark(ctx, c.coming)
		if err := k.tellStores(ctx); err != nil {
			k.log.WithError(err).Warn("other hosts are told later which backends are configured here")
		}
	}
	k.changing.Unlock()
}

// done lets those that come be used, and returns those that go, each with its departure.
func (c *storeChange) done() map[*store]*departure {
	for _, s := range slices.Concat(c.coming, c.back) {
		s.leaving.Store(nil)
	}
	gone := make(map[*store]*departure)
	for _, s := range c.going {
		gone[s] = &departure{why: "is in the configuration no more"}
		s.leaving.Store(gone[s])
	}
	if len(c.coming) > 0 {
		c.stock.leftOut()
	}
	c.stock.changing.Unlock()
	return gone
}

// configure lets a set that nobody has seen yet have a store by its name.
func (set *storeSet) configure(s *store) {
	set.byName[s.name] = s
	if s.backend == nil {
		set.caches = append(set.caches, s.name)
	} else {
		set.backends = append(set.backends, s.name)
	}
}

// drop lets a store be one that is leaving.
func (set *storeSet) drop(s *store) {
	is := func(n backends.Name) bool { return n == s.name }
	delete(set.byName, s.name)
	set.backends, set.caches = slices.DeleteFunc(set.backends, is), slices.DeleteFunc(set.caches, is)
	set.leaving = append(set.leaving, s)
}

// isFallback tells whether a store that is leaving falls back on this one, which leaves after it.
func (ro *roster) isFallback(s *store) bool {
	return slices.ContainsFunc(ro.stores.Load().leaving, func(o *store) bool { return o.fallback == s })
}

// left takes a store out that nothing goes on in any more, unless it has come back since that departure.
func (ro *roster) left(s *store, d *departure) bool {
	ro.changing.Lock()
	defer ro.changing.Unlock()
	if s.leaving.Load() != d {
		return false
	}
	next := ro.stores.Load().copied()
	next.leaving = slices.DeleteFunc(next.leaving, func(o *store) bool { return o == s })
	ro.stores.Store(next)
	return true
}
