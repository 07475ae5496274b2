package plugin

import (
	"sync"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// view is the ready entries of one store in memory, so that a hit asks no database. It may lag behind
// what other hosts do: the clone itself is the proof that an entry is still there.
//
// Whoever changes the catalog's ready entries, or tells the view what the catalog says, does it between
// begin and end. An entry is removed here before the catalog lets it go: nobody who has seen that it is
// being evicted gets a hit on it afterwards.
type view struct {
	mu    sync.RWMutex
	byKey map[viewKey]*catalog.Entry
	byID  map[catalog.EntryID][]viewKey
	// changing counts those between begin and end. What was removed meanwhile is not added again by one
	// who read the catalog before.
	changing int
	removed  map[catalog.EntryID]struct{}
}

type viewKey struct {
	domain string
	key    catalog.Key
}

func newView() *view {
	return &view{
		byKey: make(map[viewKey]*catalog.Entry), byID: make(map[catalog.EntryID][]viewKey),
		removed: make(map[catalog.EntryID]struct{}),
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

// find returns the ready entry for a key, of the domain's own or of everybody's.
func (v *view) find(domain string, key catalog.Key) (catalog.Entry, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	e, ok := v.byKey[viewKey{domain, key}]
	if !ok && domain != "" {
		e, ok = v.byKey[viewKey{"", key}]
	}
	if !ok {
		return catalog.Entry{}, false
	}
	return *e, true
}

// add makes an entry known under its key and under every alias given; between begin and end.
func (v *view) add(e catalog.Entry, aliases ...catalog.Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, going := v.removed[e.ID]; going {
		return
	}
	for _, key := range append([]catalog.Key{e.Key}, aliases...) {
		if key == "" {
			continue
		}
		k := viewKey{e.Domain, key}
		if known, ok := v.byKey[k]; !ok || known.ID != e.ID {
			v.byID[e.ID] = append(v.byID[e.ID], k)
		}
		v.byKey[k] = &e
	}
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
