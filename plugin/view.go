package plugin

import (
	"context"
	"slices"
	"sync"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// view is the ready entries of one store in memory, so that a hit asks no database. It may lag behind
// what other hosts do: the clone itself is the proof that an entry is still there.
//
// An entry is found by the images whose own bytes were read and are its content, and by nothing else. So what is
// found may be given to whoever may read that image, which its source is asked at each request: a digest that
// somebody claims, an owner, and what was shared once, open nothing.
//
// Whoever changes the catalog's ready entries, or tells the view what the catalog says, does it between
// begin and end. An entry is removed here before the catalog lets it go: nobody who has seen that it is
// being evicted gets a hit on it afterwards.
type view struct {
	mu    sync.RWMutex
	byKey map[catalog.Key]*catalog.Entry
	byID  map[catalog.EntryID][]catalog.Key // the oldest first
	// changing counts those between begin and end. What was removed meanwhile is not added again by one
	// who read the catalog before.
	changing int
	removed  map[catalog.EntryID]struct{}
	banned   map[catalog.EntryID]struct{} // in quarantine: nothing is made from them, however they were come by
}

func newView() *view {
	return &view{
		byKey: make(map[catalog.Key]*catalog.Entry), byID: make(map[catalog.EntryID][]catalog.Key),
		removed: make(map[catalog.EntryID]struct{}), banned: make(map[catalog.EntryID]struct{}),
	}
}

// begin is called before the catalog is read or changed, end after the view was told.
func (v *view) begin() (end func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changing++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.changing--; v.changing == 0 {
			clear(v.removed)
		}
	}
}

// find returns the ready entry that an image was read into.
func (v *view) find(key catalog.Key) (catalog.Entry, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	e, ok := v.byKey[key]
	if !ok {
		return catalog.Entry{}, false
	}
	return *e, true
}

// add makes an entry known under the images given, or as it is now where it was known; between begin and end.
func (v *view) add(e catalog.Entry, images ...catalog.Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, going := v.removed[e.ID]; going {
		return
	}
	if _, banned := v.banned[e.ID]; banned || !e.QuarantinedAt.IsZero() {
		return
	}
	for _, key := range images {
		if key == "" {
			continue
		}
		if known, ok := v.byKey[key]; !ok || known.ID != e.ID {
			v.byID[e.ID] = append(v.byID[e.ID], key)
		}
		v.byKey[key] = &e
	}
	v.bound(e.ID)
	for _, key := range v.byID[e.ID] {
		if known, ok := v.byKey[key]; ok && known.ID == e.ID {
			v.byKey[key] = &e
		}
	}
}

// bound forgets the oldest of very many images of an entry; the catalog may still know them.
func (v *view) bound(id catalog.EntryID) {
	for keys := v.byID[id]; len(keys) > catalog.MaxImages; keys = v.byID[id] {
		if e, ok := v.byKey[keys[0]]; ok && e.ID == id {
			delete(v.byKey, keys[0])
		}
		v.byID[id] = keys[1:]
	}
}

// ban lets nothing be made from an entry any more.
func (v *view) ban(id catalog.EntryID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.banned[id] = struct{}{}
}

// banOnly lets nothing be made from these entries, and lets all others be; between begin and end.
func (v *view) banOnly(all []catalog.EntryID) {
	v.mu.Lock()
	clear(v.banned)
	for _, id := range all {
		v.banned[id] = struct{}{}
	}
	v.mu.Unlock()
	for _, id := range all {
		v.remove(id)
	}
}

// bans tells whether nothing is to be made from an entry.
func (v *view) bans(id catalog.EntryID) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, banned := v.banned[id]
	return banned
}

// remove forgets an entry under all its keys; between begin and end. One that stays in the catalog after
// all is found there by the next request, which adds it again.
func (v *view) remove(id catalog.EntryID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.byID[id] {
		if e, ok := v.byKey[k]; ok && e.ID == id {
			delete(v.byKey, k)
		}
	}
	delete(v.byID, id)
	v.removed[id] = struct{}{}
}

// changing is called before the catalog's ready entries of the store are read or changed, end after the view was told.
func (s *store) changing() (end func()) { return s.ready.begin() }

// learn makes a ready entry known under the images given, or as it is now where it was known; between changing and end.
func (s *store) learn(e catalog.Entry, images ...catalog.Key) { s.ready.add(e, images...) }

// loadView reads the ready entries of stores that are bound, and their aliases.
func (k *stock) loadView(ctx context.Context, stores ...*store) error {
	for _, s := range stores {
		defer s.changing()()
	}
	entries, err := k.catalog.List(ctx, catalog.Filter{States: []catalog.State{catalog.Ready}})
	if err != nil {
		return err
	}
	aliases, err := k.catalog.Aliases(ctx)
	if err != nil {
		return err
	}
	keys := make(map[catalog.EntryID][]catalog.Key)
	for key, ids := range aliases {
		for _, id := range ids {
			keys[id] = append(keys[id], key)
		}
	}
	for _, e := range entries {
		if s := k.storeOf(e.Store); s != nil && slices.Contains(stores, s) {
			s.learn(e, keys[e.ID]...)
		}
	}
	return nil
}
