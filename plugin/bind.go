package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// A store has an identity of its own, and entries belong to that; what the configuration calls it is a label.
// Binding finds out which store a configured one is, and makes sure that it is this catalog's. Nothing is
// read from a store, and nothing is made or removed on it, before.

// binding is which store a configured one has turned out to be.
type binding struct {
	backends.Identity
	// sure: the store has said so itself, and that it is this catalog's. Else it is what was known of its name
	// when it did not answer.
	sure bool
	// told: the store has said which it is. It keeps others from its place, also before it is sure.
	told bool
}

// id is which store it is, as far as that is known: "" where it never answered.
func (s *store) id() backends.StoreID {
	if b := s.bound.Load(); b != nil {
		return b.ID
	}
	return ""
}

// sure tells that the store itself has said which it is.
func (s *store) sure() bool {
	b := s.bound.Load()
	return b != nil && b.sure
}

// storeOf is the configured store of that ID, or nil.
func (ro *roster) storeOf(id backends.StoreID) *store {
	for _, s := range ro.everyStore() {
		if id != "" && s.id() == id {
			return s
		}
	}
	return nil
}

// labels are what stores are and were called.
type labels struct {
	mu   sync.Mutex
	byID map[backends.StoreID]catalog.Store
}

// label is what people call the store of that ID: its name in the configuration, or its last one.
func (ro *roster) label(id backends.StoreID) backends.Name {
	if s := ro.storeOf(id); s != nil {
		return s.name
	}
	ro.labels.mu.Lock()
	defer ro.labels.mu.Unlock()
	if known, ok := ro.labels.byID[id]; ok {
		return known.Name
	}
	return backends.Name(id) // older versions kept entries by the name
}

// storeID is the ID that a person means: by a name in the configuration, by the last one of a store that is
// not configured any more, or by the ID itself. ErrUnknownBackend; backends.ErrUnavailable: it has none yet.
func (ro *roster) storeID(ctx context.Context, name backends.Name) (backends.StoreID, error) {
	if s := ro.named(name); s != nil {
		if s.id() == "" {
			return "", fmt.Errorf("%w: %s has not answered since it was configured", backends.ErrUnavailable, name)
		}
		return s.id(), nil
	}
	known, err := ro.catalog.Stores(ctx)
	if err != nil {
		return "", err
	}
	for _, was := range slices.Backward(known) {
		if was.Name == name || string(was.ID) == string(name) {
			return was.ID, nil
		}
	}
	unbound, err := ro.catalog.Unbound(ctx)
	if err != nil {
		return "", err
	}
	if slices.Contains(unbound, name) {
		return backends.StoreID(name), nil
	}
	return "", ro.asked(name, 0)
}

// readLabels brings the labels up to date.
func (ro *roster) readLabels(ctx context.Context) error {
	all, err := ro.catalog.Stores(ctx)
	if err != nil {
		return err
	}
	byID := make(map[backends.StoreID]catalog.Store, len(all))
	for _, s := range all {
		byID[s.ID] = s
	}
	ro.labels.mu.Lock()
	defer ro.labels.mu.Unlock()
	ro.labels.byID = byID
	return nil
}

// nowCalled is the configured name of the store that was called so when the journal was written. It is for
// before stores are bound.
func (ro *roster) nowCalled(name backends.Name) backends.Name {
	ro.labels.mu.Lock()
	var is, was []backends.StoreID
	for id, known := range ro.labels.byID {
		if known.Name == name {
			is = append(is, id)
		} else if slices.Contains(known.Names, name) {
			was = append(was, id)
		}
	}
	ro.labels.mu.Unlock()
	if ro.isConfigured(name) {
		was = nil
	}
	for _, id := range slices.Concat(is, was) {
		if s := ro.storeOf(id); s != nil {
			return s.name
		}
	}
	return name
}

// identifyStores finds out which stores are configured, and refuses those that are another installation's, and
// two on one place: these are mistakes of the configuration. One that does not say which it is, for whatever reason, keeps
// nobody from the others; it is taken for what it was, and asked again later.
func (ro *roster) identifyStores(ctx context.Context) error {
	if err := errors.Join(ro.readLabels(ctx), ro.readOthers(ctx)); err != nil {
		return err
	}
	return ro.identifyAll(ctx, ro.orderedStores(), 0)
}

// identifyAll is identifyStores, of some; each has so much time to answer, or as long as it takes (0).
func (ro *roster) identifyAll(ctx context.Context, some []*store, within time.Duration) error {
	var problems []error
	var silent []*store
	for _, s := range some {
		is, err := ro.identifyWithin(ctx, s, within)
		if err == nil {
			s.bound.Store(&binding{Identity: is, sure: true, told: true})
		}
		if err != nil && ctx.Err() == nil && !misconfigured(err) {
			ro.reached(s, fmt.Errorf("%w: %w", backends.ErrUnavailable, err))
			ro.log.WithField("backend", s.name).WithError(err).Error("store not identified; its entries wait until it answers")
			silent, err = append(silent, s), nil
		}
		problems = append(problems, err)
	}
	for _, s := range silent { // once it is known which the others are
		problems = append(problems, ro.assume(ctx, s))
	}
	return ro.unlessRefused(ctx, some, errors.Join(problems...))
}

// identifyWithin is identifyStore, bounded; 0: by ctx alone.
func (ro *roster) identifyWithin(ctx context.Context, s *store, within time.Duration) (backends.Identity, error) {
	if within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	return ro.identifyStore(ctx, s)
}

// identifyStore asks a store which it is, and makes it this catalog's. backends.ErrHeld, ErrBadRequest (it is
// another one's place); any other error is the store's own.
func (ro *roster) identifyStore(ctx context.Context, s *store) (backends.Identity, error) {
	is, err := s.images.Identify(ctx)
	if err != nil {
		return is, err
	}
	leave, err := ro.takePlace(s, is)
	if err != nil {
		return is, err
	}
	err = s.images.HoldFor(ctx, backends.Holder{Catalog: ro.self, Host: ro.cfg.Host, StateDir: ro.cfg.StateDir})
	if err == nil {
		s.marked.Store(&is.ID)
	}
	if errors.Is(err, backends.ErrNoSpace) {
		ro.log.WithField("backend", s.name).WithError(err).Warn("the store does not know yet that it is this installation's; it is told when it has room")
		err = nil
	}
	if err != nil {
		leave()
	}
	if errors.Is(err, backends.ErrHeld) {
		return is, fmt.Errorf("backend %s is %w; if that installation is gone for good, run `clonecache backend take-over %s`, else give this one a directory or pool of its own", s.name, err, s.name)
	}
	return is, err
}

// takePlace notes which store s has said it is, unless another one is it, or lies there: of two that come back
// at once, one succeeds. leave takes it back. ErrBadRequest.
func (ro *roster) takePlace(s *store, is backends.Identity) (leave func(), err error) {
	ro.placing.Lock()
	defer ro.placing.Unlock()
	if err := ro.apart(s, is); err != nil {
		return nil, err
	}
	before := s.bound.Load()
	s.bound.Store(&binding{Identity: is, told: true})
	for _, other := range ro.everyStore() { // what was assumed of it is refuted
		if b := other.bound.Load(); other != s && b != nil && !b.told && b.ID == is.ID {
			other.bound.CompareAndSwap(b, nil)
		}
	}
	return func() { s.bound.Store(before) }, nil
}

// apart refuses a store that is, or lies where, another configured one is. ErrBadRequest.
func (ro *roster) apart(s *store, is backends.Identity) error {
	for _, other := range ro.everyStore() {
		b := other.bound.Load()
		if other == s || b == nil || !b.told {
			continue
		}
		if err := OnePlace(other.name, b.Identity, s.name, is); err != nil {
			return fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
	}
	return nil
}

// OnePlace is an error if two configured stores are one, or lie on one place.
func OnePlace(a backends.Name, isA backends.Identity, b backends.Name, isB backends.Identity) error {
	const remedy = "they would remove each other's image-volumes: keep one of them, or give each a directory, or a pool or namespace, of its own"
	if isA.ID != "" && isA.ID == isB.ID {
		return fmt.Errorf("%s and %s are one store (%s); %s (if one is a copy of the other's directory, remove .clonecache/store-id from the copy)", a, b, isA.ID, remedy)
	}
	for _, place := range isA.Places {
		if slices.Contains(isB.Places, place) {
			return fmt.Errorf("%s and %s lie on one place (%s); %s", a, b, place, remedy)
		}
	}
	return nil
}

// assume takes a store that does not answer for the one that had its name, unless that one has said itself
// that it has another name now. One of that name which is another host's is another one.
func (ro *roster) assume(ctx context.Context, s *store) error {
	mine, err := ro.catalog.StoresOf(ctx, ro.holder.Instance)
	if err != nil {
		return err
	}
	unbound, err := ro.catalog.Unbound(ctx)
	if err != nil {
		return err
	}
	ro.labels.mu.Lock()
	defer ro.labels.mu.Unlock()
	last := catalog.Store{ID: mine[s.name]}
	if last.ID != "" && ro.storeOf(last.ID) != nil {
		last.ID = ""
	}
	for _, known := range ro.labels.byID {
		if mine[s.name] == "" && known.Name == s.name && ro.hostOf(known.ID) == "" && ro.storeOf(known.ID) == nil && !known.BoundAt.Before(last.BoundAt) {
			last = known
		}
	}
	if last.ID == "" && slices.Contains(unbound, s.name) {
		last.ID = backends.StoreID(s.name)
	}
	if last.ID != "" {
		s.bound.Store(&binding{Identity: backends.Identity{ID: last.ID}})
	}
	return nil
}

// bindStores notes in the catalog what the stores that have answered are called now.
func (ro *roster) bindStores(ctx context.Context) error {
	for _, s := range ro.orderedStores() {
		if s.sure() {
			if err := ro.bindStore(ctx, s); err != nil {
				return err
			}
		}
	}
	return errors.Join(ro.tellStores(ctx), ro.readLabels(ctx))
}

func (ro *roster) bindStore(ctx context.Context, s *store) error {
	legacy, err := ro.legacyName(ctx, s)
	if err != nil {
		return err
	}
	info := s.images.Info()
	was, err := ro.catalog.Bind(ctx, catalog.Store{ID: s.id(), Name: s.name, Kind: info.Kind, Location: info.Location, Former: s.bound.Load().Former}, legacy)
	if err != nil {
		return err
	}
	log := ro.log.WithFields(map[string]any{"backend": s.name, "store": s.id()})
	switch {
	case was == "" && legacy != s.name:
		log.WithField("was", legacy).Info("the store has another name now; its entries stay")
	case was != "" && was != s.name:
		log.WithField("was", was).Info("the store has another name now; its entries stay")
	}
	return nil
}

// legacyName is under which name an older version kept the store's entries: its own, or that of a backend
// that is no longer configured, where a row of that one names what lies in this store.
func (ro *roster) legacyName(ctx context.Context, s *store) (backends.Name, error) {
	unbound, err := ro.catalog.Unbound(ctx)
	if err != nil || len(unbound) == 0 || slices.Contains(unbound, s.name) {
		return s.name, err
	}
	for iv, err := range s.images.ListImageVolumes(ctx) {
		if err != nil {
			continue
		}
		e, err := ro.catalog.Get(ctx, iv.Description.EntryID)
		if err != nil || e.ImageVolume != iv.ID {
			continue
		}
		name := backends.Name(e.Store)
		if !ro.isConfigured(name) && slices.Contains(unbound, name) {
			return name, nil
		}
	}
	return s.name, nil
}

// attempt is one at finding out which store it is; others wait for its end.
type attempt struct {
	done chan struct{}
	err  error
}

// ensure makes sure that the store has said which it is, where it did not answer when that was asked before.
// backends.ErrUnavailable, backends.ErrHeld.
func (ro *roster) ensure(ctx context.Context, s *store) error {
	if s.sure() {
		return nil
	}
	s.binding.Lock()
	a := s.attempt
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		s.attempt = a
		go func() {
			a.err = ro.bindLate(s)
			s.binding.Lock()
			s.attempt = nil
			s.binding.Unlock()
			close(a.done)
		}()
	}
	s.binding.Unlock()
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bindLate binds a store that has come back, and lets its entries be served.
func (ro *roster) bindLate(s *store) error {
	ctx, cancel := ro.cleanup(ro.base)
	defer cancel()
	if s.sure() {
		return nil
	}
	is, err := ro.identifyStore(ctx, s)
	ro.reached(s, err)
	if err != nil {
		return fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
	}
	if err := ro.bindStore(ctx, s); err != nil {
		return err
	}
	if err := errors.Join(ro.tellStores(ctx), ro.readLabels(ctx), ro.load(ctx, s)); err != nil {
		return err
	}
	s.bound.Store(&binding{Identity: is, sure: true, told: true})
	ro.leftOut()
	return nil
}
