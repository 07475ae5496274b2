package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// stores are the open backends and file caches. One that left the configuration stays open until close, since what had begun on
// it goes on; configured again as it was, it is the same. One that could not be opened until then is not tried any more.
type stores struct {
	closing sync.WaitGroup // those that are not tried any more
	mu      sync.Mutex     // guards what follows
	open    []openStore
	closed  bool
}

// openStore is a backend or a file cache.
type openStore struct {
	name    string
	place   any              // as of storePlaces
	backend backends.Backend // nil for a file cache
	cache   plugin.FileCache // nil for a backend
}

func (s openStore) close() error {
	if s.cache != nil {
		return s.cache.Close()
	}
	return s.backend.Close()
}

// openStores opens all backends and file caches, and logs what each can do. state_dir is locked. A store that
// cannot be opened is down, and tried again, while the others serve; but one that another process has open is
// refused: a second daemon on it would wait for the first one's end. backends.ErrInUse.
func openStores(ctx context.Context, cfg config.Config, log logrus.FieldLogger) (*stores, error) {
	s := &stores{}
	if _, err := s.openMore(ctx, config.Config{}, cfg, log); err != nil {
		return nil, err
	}
	return s, nil
}

// arrivals are the stores that a configuration has and another one had not.
type arrivals struct {
	opened []openStore // just now
	all    []openStore // and those that were open still
}

// openMore opens, as openStores does, what next has and now has not. All is open, or nothing more than before. backends.ErrInUse;
// plugin.ErrStopping after close.
func (s *stores) openMore(ctx context.Context, now, next config.Config, log logrus.FieldLogger) (*arrivals, error) {
	h, err := host(next, log)
	if err != nil {
		return nil, err
	}
	was, a := storePlaces(now), &arrivals{}
	for i, c := range next.Backends {
		if _, there := was[c.Name]; !there && err == nil {
			err = a.take(s, openStore{name: c.Name, place: c.Kinded}, func(o *openStore) (err error) {
				o.backend, err = openOrTry(ctx, next, i, h)
				return err
			})
		}
	}
	for i, c := range next.FileCaches {
		if _, there := was[c.Name]; !there && err == nil {
			err = a.take(s, openStore{name: c.Name, place: c.Path}, func(o *openStore) (err error) {
				o.cache, err = openCacheOrTry(ctx, next, i, h)
				return err
			})
		}
	}
	if err = errors.Join(err, ctx.Err()); err == nil {
		err = s.keep(a.opened)
	}
	for _, o := range a.opened {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}
	return a, err
}

// take has one that is open still, or opens it.
func (a *arrivals) take(from *stores, o openStore, open func(*openStore) error) error {
	if there, is := from.kept(o); is {
		a.all = append(a.all, there)
		return nil
	}
	if err := open(&o); err != nil {
		return err
	}
	a.opened, a.all = append(a.opened, o), append(a.all, o)
	return nil
}

// backend is that of a name, or nil.
func (a *arrivals) backend(name string) backends.Backend {
	for _, o := range a.all {
		if o.name == name {
			return o.backend
		}
	}
	return nil
}

// cache is the file cache of a name, or nil.
func (a *arrivals) cache(name string) plugin.FileCache {
	for _, o := range a.all {
		if o.name == name {
			return o.cache
		}
	}
	return nil
}

// kept is the store of that name and place, if it is open.
func (s *stores) kept(like openStore) (openStore, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.open {
		if o.name == like.name && reflect.DeepEqual(o.place, like.place) {
			return o, true
		}
	}
	return openStore{}, false
}

// holdsFor tells whether a place is that of a store which is open under another name.
func (s *stores) holdsFor(name string, place any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.open, func(o openStore) bool { return o.name != name && reflect.DeepEqual(o.place, place) })
}

// keep lets close close them too. plugin.ErrStopping: it was called already.
func (s *stores) keep(opened []openStore) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("open more backends: %w", plugin.ErrStopping)
	}
	s.open = append(s.open, opened...)
	return nil
}

// closeSome closes some that nobody uses yet.
func (s *stores) closeSome(some []openStore) error {
	s.mu.Lock()
	var mine []openStore
	s.open = slices.DeleteFunc(s.open, func(o openStore) bool {
		is := slices.ContainsFunc(some, func(other openStore) bool { return other.name == o.name && reflect.DeepEqual(other.place, o.place) })
		if is {
			mine = append(mine, o)
		}
		return is
	})
	s.mu.Unlock()
	return closeAll(mine)
}

// letGo ends the attempts to open those that left the configuration, and does not wait for it: nothing can have begun on them, and
// one that was opened some day would keep whoever has it by then from it.
func (s *stores) letGo(names []backends.Name, log logrus.FieldLogger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(o openStore) bool {
		vain := slices.Contains(names, backends.Name(o.name)) && o.down()
		if vain {
			s.closing.Go(func() {
				if err := o.close(); err != nil {
					log.WithField("backend", o.name).WithError(err).Warn("it was opened as it left the configuration, and is not closed")
				}
			})
		}
		return vain
	})
}

// notOpen are those of the configuration that do not answer: they could not be opened, or what they are made of is silent. One that
// has come by an earlier reload is named until it answers, as whoever reloads again would take it for open.
func notOpen(silent []plugin.UnavailableView) []api.NotOpen {
	all := []api.NotOpen{}
	for _, u := range silent {
		all = append(all, api.NotOpen{Name: string(u.Name), Reason: u.Error})
	}
	return all
}

// down tells whether it is still being tried to open it.
func (s openStore) down() bool {
	tried, is := s.backend.(backends.Late)
	if s.cache != nil {
		tried, is = s.cache.(backends.Late)
	}
	return is && tried.Down() != nil
}

// close closes what is open, whatever fails. No more is opened.
func (s *stores) close() error {
	s.mu.Lock()
	all := s.open
	s.open, s.closed = nil, true
	s.mu.Unlock()
	err := closeAll(all)
	s.closing.Wait()
	return err
}

func closeAll(all []openStore) error {
	var errs []error
	for _, o := range all {
		errs = append(errs, o.close())
	}
	return errors.Join(errs...)
}
