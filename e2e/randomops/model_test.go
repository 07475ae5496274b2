package randomops

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/words"
)

// model is what the plugin promises, without any of its machinery: one thing happens at a time, and
// nothing is ever half done.
type model struct {
	memory bool // clones depend on their image-volumes, and are limited
	// cacheless is without a file cache: what the backend does not serve is bypassed.
	cacheless bool
	set       settings
	images    [5]image
	volumes   map[int]*volume
	entries   map[string]*entry // by ID; one whose ID is not known yet is under its fresh name
	counts    counts
	changes   int
	// uncharged are image-volumes that the quota had no room for when the catalog was rebuilt, and that
	// clones kept from going.
	uncharged int64
	// mayHaveRead is what failed fills since the last look have read of their images at most, in bytes.
	mayHaveRead int64
	// mayKnow are fills since the last look that were too small to be begun where a host still knew an entry of the image
	// that another one has evicted.
	mayKnow int64
	last    [2]figures // of the last look
}

// counts are the report's counters, by names of this test's own.
type counts map[string]int64

type image struct {
	there    bool
	content  int
	promised int // the content whose digest stands beside it, or -1
	revision int
}

type volume struct {
	foreign bool
	content int
	size    int64
	key     catalog.Key // what it was asked for by
	entry   string
	clone   bool // depends on entry
	id      backends.VolumeID
	request op
}

type entry struct {
	id       string
	store    int
	content  int
	first    catalog.Key // what it was filled for: all that it tells about itself
	keys     map[catalog.Key]bool
	maybe    map[catalog.Key]bool // known or not: a kill keeps that to itself
	pinned   bool
	detached bool
	lost     bool // its image-volume was removed behind the plugin's back
	outdated bool // superseded, as of the last look: its images have other content by now, or are gone
	cause    catalog.EvictCause
	hits     int64
	held     int64
	created  time.Time
	used     time.Time
	touched  bool // since the last look
	// believed are the live clones that the catalog has heard of: of those that are deleted it is not told.
	believed int
}

func newModel(memory bool) *model {
	m := &model{memory: memory, volumes: map[int]*volume{}, entries: map[string]*entry{}, counts: counts{}}
	for i := range m.images {
		m.images[i].promised = -1
	}
	return m
}

func (m *model) clone() *model {
	c := *m
	c.volumes, c.entries, c.counts = map[int]*volume{}, map[string]*entry{}, maps.Clone(m.counts)
	for i, v := range m.volumes {
		copied := *v
		c.volumes[i] = &copied
	}
	for id, e := range m.entries {
		copied := *e
		copied.keys, copied.maybe = maps.Clone(e.keys), maps.Clone(e.maybe)
		c.entries[id] = &copied
	}
	return &c
}

// key is what an image is looked up by, and the content that this stands for.
func (m *model) key(o op) (catalog.Key, int) {
	i := m.images[o.Image]
	if i.promised >= 0 {
		return words.RevisionKey(imageNames[o.Image], fmt.Sprint(i.revision)+" "+digests()[i.promised], formatOf(o.Image)), i.promised
	}
	return m.revisionKey(o), i.content
}

// revisionKey is what an image is looked up by without a digest beside it. It is known once the image was read.
func (m *model) revisionKey(o op) catalog.Key {
	return words.RevisionKey(imageNames[o.Image], fmt.Sprint(m.images[o.Image].revision), formatOf(o.Image))
}

// formatOf is what an image's name claims.
func formatOf(image int) string {
	if name := imageNames[image]; name[len(name)-4:] == ".raw" {
		return "raw?"
	}
	return "?"
}

// ready is the entry that a key finds.
func (m *model) ready(store int, key catalog.Key) *entry {
	for _, e := range m.entries {
		if e.store == store && !e.detached && e.keys[key] {
			return e
		}
	}
	return nil
}

// of is the ready entry of a content.
func (m *model) of(store, content int) *entry {
	for _, e := range m.entries {
		if e.store == store && !e.detached && e.content == content {
			return e
		}
	}
	return nil
}

// clones are the live ones that depend on an entry.
func (m *model) clones(e *entry) int {
	n := 0
	for _, v := range m.volumes {
		if v.clone && v.entry == e.id {
			n++
		}
	}
	return n
}

// charged is what counts against the quota.
func (m *model) charged() int64 { return m.owned() - m.uncharged }

// owned are the image-volumes of the internal tenant.
func (m *model) owned() int64 {
	n := int64(0)
	for _, e := range m.entries {
		if e.store == 0 {
			n++
		}
	}
	return n
}

// bounds are a store's; 0 is unbounded.
func (m *model) bounds(store int) (bytes int64, count int) {
	if store == 0 {
		return m.set.MaxBytes, m.set.MaxCount
	}
	return cmp.Or(m.set.FilesMaxBytes, 10<<30), m.set.FilesMaxCount
}

// victims are the entries of a store that go so that bytes more, as one entry more, fit; or, with
// nothing more, so that what is there fits. enough is false where that is not possible.
func (m *model) victims(store int, bytes int64, count int) (victims []*entry, enough bool) {
	return m.plan(need{store, bytes, count}, m.clones)
}

// need is what is to fit into a store.
type need struct {
	store int
	bytes int64
	count int
}

// victimsBelieved is victims for a fill: the clones that the catalog has heard of decide, unless one with clones would have
// to go by that. Then they are counted anew.
func (m *model) victimsBelieved(n need) (victims []*entry, enough bool) {
	believed := func(e *entry) int { return e.believed }
	victims, enough = m.plan(n, believed)
	used := slices.ContainsFunc(victims, func(e *entry) bool { return e.believed > 0 })
	if !m.cacheless || used || !enough {
		for _, e := range m.entries {
			e.believed = m.clones(e)
		}
		return m.plan(n, m.clones)
	}
	return victims, true
}

// plan is victims by some count of their clones.
func (m *model) plan(n need, clones func(*entry) int) (victims []*entry, enough bool) {
	store, bytes, count := n.store, n.bytes, n.count
	maxBytes, maxCount := m.bounds(store)
	var candidates []*entry
	for _, e := range m.entries {
		if e.store != store || e.detached {
			continue
		}
		bytes += e.held
		count++
		if !e.pinned {
			candidates = append(candidates, e)
		}
	}
	fits := func() bool { return (maxBytes == 0 || bytes <= maxBytes) && (maxCount == 0 || count <= maxCount) }
	slices.SortFunc(candidates, func(a, b *entry) int { return compare(a, b, clones) })
	for len(candidates) > 0 && !fits() {
		victims = append(victims, candidates[0])
		bytes, count = bytes-candidates[0].held, count-1
		candidates = candidates[1:]
	}
	if !fits() {
		return victims, false
	}
	for i := len(victims) - 1; i >= 0; i-- { // none that need not
		bytes, count = bytes+victims[i].held, count+1
		if fits() {
			victims = slices.Delete(victims, i, i+1)
		} else {
			bytes, count = bytes-victims[i].held, count-1
		}
	}
	return victims, true
}

// compare puts first what goes first: superseded ones, then idle before in use, then the least recently used.
func compare(a, b *entry, clones func(*entry) int) int {
	current := func(e *entry) int {
		if e.outdated {
			return 0
		}
		return 1
	}
	inUse := func(e *entry) int { return min(clones(e), 1) }
	return cmp.Or(cmp.Compare(current(a), current(b)), cmp.Compare(inUse(a), inUse(b)), a.lastUse().Compare(b.lastUse()), a.created.Compare(b.created), cmp.Compare(a.id, b.id))
}

func (e *entry) lastUse() time.Time {
	if e.used.Before(e.created) {
		return e.created
	}
	return e.used
}

// evict ends an entry: it is gone, or detached while clones live.
func (m *model) evict(e *entry, cause catalog.EvictCause) {
	e.cause = cause
	if m.clones(e) > 0 {
		e.detached, e.pinned = true, false
		return
	}
	m.remove(e)
}

// remove counts an entry out.
func (m *model) remove(e *entry) {
	delete(m.entries, e.id)
	m.counts[evictedBy(e.cause)]++
}

// forget drops an entry whose image-volume turned out to be lost.
func (m *model) forget(e *entry) { m.evict(e, catalog.CauseGone) }

// forgetLost drops all of those.
func (m *model) forgetLost() {
	for _, e := range m.all() {
		if e.lost && !e.detached {
			m.forget(e)
		}
	}
}

// reap drops the detached ones whose last clone is gone.
func (m *model) reap() {
	for _, e := range m.all() {
		if e.detached && m.clones(e) == 0 {
			m.remove(e)
		}
	}
}

// all are the entries in the order of their IDs, which may be removed meanwhile.
func (m *model) all() []*entry {
	return slices.SortedFunc(maps.Values(m.entries), func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
}

// restarted is what Open settles.
func (m *model) restarted() {
	m.reap()
	m.forgetLost()
}

// rebuilt is what Open can tell where the catalog was lost: what the image-volumes say of themselves.
// Those that the quota does not allow go; which of them, only the world knows. The report begins anew.
func (m *model) rebuilt(seen observed) {
	m.counts = seen.counts
	surplus := int64(0)
	if m.set.Volumes > 0 {
		surplus = m.owned() - m.set.Volumes
	}
	for _, e := range m.all() {
		got, there := seen.entries[e.id]
		goes := e.store == 0 && !e.detached && surplus > 0 && (!there || got.State == "detached")
		if goes {
			surplus--
		}
		switch {
		case goes && m.clones(e) == 0:
			delete(m.entries, e.id)
			continue
		case goes:
			e.detached = true
		}
		e.pinned, e.hits, e.touched, e.maybe = false, got.Hits, true, nil
		if e.detached { // why it was evicted is lost too
			e.cause = catalog.CauseGone
		}
		e.keys = map[catalog.Key]bool{e.first: true}
	}
	if m.set.Volumes > 0 {
		m.uncharged = max(0, m.owned()-m.set.Volumes)
	}
}

// evictedBy is the counter of a cause: for which bound an entry went is package lru's business.
func evictedBy(cause catalog.EvictCause) string {
	if cause == catalog.CauseSize || cause == catalog.CauseCount {
		return "evicted for room"
	}
	return "evicted: " + string(cause)
}
