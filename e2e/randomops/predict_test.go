package randomops

import (
	"fmt"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// apply lets the model do what the plugin did, and says where the results differ.
func (m *model) apply(o op, r result) error {
	want := m.do(o, r)
	switch {
	case m.cacheless && r.Err != want.Err && o.Size == small && refusesSmall(r.Err) && refusesSmall(want.Err):
		return nil // what a host sees first depends on what it knows of the others' entries
	case r.Err != want.Err:
		return fmt.Errorf("got error %q (%s), want %q", r.Err, r.Detail, want.Err)
	case r.Outcome != want.Outcome || r.Reason != want.Reason:
		return fmt.Errorf("got %s, %s (%s), want %s, %s", r.Outcome, r.Reason, r.Detail, want.Outcome, want.Reason)
	case r.SizeBytes != want.SizeBytes || r.Downloaded != want.Downloaded:
		return fmt.Errorf("got %d bytes, %d downloaded, want %d, %d", r.SizeBytes, r.Downloaded, want.SizeBytes, want.Downloaded)
	case want.VolumeID != "" && r.VolumeID != want.VolumeID:
		return fmt.Errorf("got volume ID %s, want %s, as before", r.VolumeID, want.VolumeID)
	case want.EntryID != "" && r.EntryID != want.EntryID:
		return fmt.Errorf("got entry %s, want %s", r.EntryID, want.EntryID)
	case r.Removed != want.Removed:
		return fmt.Errorf("got %d entries removed, want %d", r.Removed, want.Removed)
	case o.Do == check && !r.OK && m.uncharged == 0:
		return fmt.Errorf("check --repair left problems")
	}
	return nil
}

// refusesSmall is how a volume is refused that is too small and has the name of another one.
func refusesSmall(p problem) bool { return p == tooSmall || p == conflict }

// do is what an operation should come to. r tells the IDs and times, which the model cannot know.
func (m *model) do(o op, r result) (want result) {
	switch o.Do {
	case create:
		return m.create(o, r)
	case deleteVolume, loseVolume:
		return m.deleteVolume(o)
	case foreign:
		if m.volumes[o.Volume] != nil {
			return result{Err: volumeExists}
		}
		m.volumes[o.Volume] = &volume{foreign: true}
	case evict, pin, unpin, loseImage:
		return m.onEntry(o)
	case setImage:
		m.changes++
		m.images[o.Image] = image{there: o.Content >= 0, content: o.Content, promised: o.Promised, revision: m.changes}
	case prefetch:
		m.prefetch(o, r)
	case prune:
		return m.prune()
	case clean:
		m.reap()
	case check:
		m.forgetLost()
	case restart:
		m.restarted()
	case configure:
		m.set = *o.Settings
		m.restarted()
	case harm:
		m.restarted()
	case repeat, kill:
	}
	return result{}
}

func (m *model) deleteVolume(o op) result {
	v := m.volumes[o.Volume]
	switch {
	case v == nil:
		return result{Err: noVolume}
	case v.foreign && (o.Do == deleteVolume || m.memory):
		return result{Err: notOurs}
	}
	delete(m.volumes, o.Volume)
	return result{}
}

func (m *model) onEntry(o op) result {
	e := m.of(o.Store, o.Content)
	if e == nil {
		return result{Err: noEntry}
	}
	switch o.Do {
	case pin, unpin:
		e.pinned = o.Do == pin
	case loseImage:
		e.lost = true
	case evict:
		switch {
		case e.pinned: // said first: force does not help against it
			return result{Err: pinned}
		case m.clones(e) > 0 && !o.Force:
			return result{Err: hasClones}
		}
		m.evict(e, catalog.CauseAdmin)
		return result{Removed: 1}
	}
	return result{}
}

func (m *model) prune() (want result) {
	for store := range storeNames {
		victims, _ := m.victims(store, 0, 0)
		for _, e := range victims {
			m.evict(e, catalog.CausePrune)
			want.Removed++
		}
	}
	return want
}

// making is a request on its way through the model.
type making struct {
	*model
	op         op
	result     result // as the plugin had it
	image      image
	key        catalog.Key
	content    int // what the key stands for
	size       int64
	downloaded int64
}

func (m *model) create(o op, r result) result {
	i := m.images[o.Image]
	if !i.there {
		return result{Err: noImage}
	}
	c := making{model: m, op: o, result: r, image: i, size: sized(o.Size, contentSize(i.content))}
	c.key, c.content = m.key(o)
	want, aside := c.cloned()
	if aside != "" && !m.cacheless {
		want, aside = c.copied(aside)
	}
	if aside != "" {
		want = result{Outcome: plugin.Bypassed, Reason: aside, SizeBytes: c.size}
	}
	if want.Outcome != "" {
		m.count(want, c)
	}
	return want
}

// prefetch fills the backend with an image, where nothing is in the way.
func (m *model) prefetch(o op, r result) {
	i := m.images[o.Image]
	if !i.there {
		return
	}
	c := making{model: m, op: o, result: r, image: i}
	if c.key, c.content = m.key(o); m.ready(0, c.key) == nil {
		_, _, _ = c.fill(0) // what keeps it away is the queue's to say
	}
}

// cloned serves the request from the backend, or says why not.
func (c *making) cloned() (want result, aside plugin.Reason) {
	for {
		e := c.ready(0, c.key)
		role, reason := plugin.Hit, plugin.ReasonReady
		if e == nil {
			if v := c.volumes[c.op.Volume]; v != nil {
				return c.repeated(v), ""
			}
			var p problem
			if e, p, aside = c.fill(0); e == nil {
				return result{Err: p}, aside
			}
			role, reason = plugin.Filled, plugin.ReasonMiss
		} else if c.size != 0 && c.size < contentSize(e.content) {
			return result{Err: tooSmall}, ""
		}
		v := c.volumes[c.op.Volume]
		switch {
		case v != nil && (c.memory || !e.lost): // which of both a backend looks at first is its own affair
			return c.repeated(v), ""
		case e.lost:
			c.forget(e)
			c.downloaded = 0
			continue
		case c.memory && c.clones(e) >= cloneLimit:
			return result{}, plugin.ReasonCloneLimit
		}
		return c.made(e, role, reason), ""
	}
}

// copied serves the request from the file cache, or says why not.
func (c *making) copied(why plugin.Reason) (want result, aside plugin.Reason) {
	for {
		c.downloaded = 0
		e := c.ready(1, c.key)
		if e == nil {
			if v := c.volumes[c.op.Volume]; v != nil {
				return c.repeated(v), ""
			}
			var p problem
			if e, p, aside = c.fill(1); e == nil {
				return result{Err: p}, aside
			}
		} else if c.size != 0 && c.size < contentSize(e.content) {
			return result{Err: tooSmall}, ""
		}
		if e.lost {
			c.forget(e)
			continue
		}
		if v := c.volumes[c.op.Volume]; v != nil {
			return c.repeated(v), ""
		}
		return c.made(e, plugin.Copied, why), ""
	}
}

// repeated is a request for a volume that is there.
func (c *making) repeated(v *volume) result {
	same := !v.foreign && (c.size == 0 || c.size == v.size)
	if same && v.key != c.key && (v.request.Image != c.op.Image || c.image.promised != v.content) {
		e := c.ready(0, c.key)
		same = e != nil && e.content == v.content || c.knewOnce(v)
	}
	if !same {
		return result{Err: conflict}
	}
	return result{Outcome: plugin.Hit, Reason: plugin.ReasonRepeated, VolumeID: v.id, SizeBytes: v.size}
}

// knewOnce: the answer was that the volume is there, by an entry that another host has evicted since. Its content is the
// image's, so that this is right.
func (c *making) knewOnce(v *volume) bool {
	return c.cacheless && c.result.Reason == plugin.ReasonRepeated && v.content == c.image.content
}

// made is a volume that came about.
func (c *making) made(e *entry, outcome plugin.Outcome, reason plugin.Reason) result {
	size := c.size
	if size == 0 {
		size = contentSize(e.content)
	}
	if c.result.EntryID != "" && strings.HasPrefix(e.id, "fresh/") {
		c.name(e, c.result.EntryID)
	}
	c.volumes[c.op.Volume] = &volume{
		content: e.content, size: size, key: c.key, entry: e.id, id: c.result.VolumeID, request: c.op,
		clone: outcome != plugin.Copied && c.memory,
	}
	e.believed++
	return result{Outcome: outcome, Reason: reason, SizeBytes: size, Downloaded: c.downloaded, EntryID: e.id}
}

// fill makes the entry of the request's image, or says what is in the way.
func (c *making) fill(store int) (e *entry, p problem, aside plugin.Reason) {
	e, p, aside = c.tryFill(store)
	c.counts["fills"]++
	if e == nil {
		c.counts["failed fills"]++
		c.mayHaveRead += contentSize(c.image.content)
		if p == tooSmall && c.cacheless {
			c.mayKnow++
		}
		return nil, p, aside
	}
	c.downloaded = contentSize(c.image.content)
	c.counts["downloaded"] += c.downloaded
	return e, "", ""
}

func (c *making) tryFill(store int) (e *entry, p problem, aside plugin.Reason) {
	bytes := contentSize(c.image.content)
	if c.size != 0 && c.size < bytes {
		return nil, tooSmall, ""
	}
	if aside := c.makeRoom(store, bytes); aside != "" {
		return nil, "", aside
	}
	if store == 0 && c.set.Volumes > 0 && c.charged() >= c.set.Volumes {
		return nil, "", plugin.ReasonOverQuota
	}
	if c.content != c.image.content {
		return nil, wrongDigest, ""
	}
	held := c.held(store, c.content)
	if held > bytes {
		if aside := c.makeRoom(store, held); aside != "" {
			return nil, "", aside
		}
	}
	if e := c.of(store, c.content); e != nil { // known by another name
		for _, key := range []catalog.Key{c.key, c.revisionKey(c.op)} {
			e.keys[key] = true
			delete(e.maybe, key)
		}
		return e, "", ""
	}
	e = &entry{
		id: fmt.Sprintf("fresh/%d/%d", store, c.content), store: store, content: c.content, first: c.key,
		keys:    map[catalog.Key]bool{c.key: true, c.revisionKey(c.op): true},
		touched: true, created: c.result.At, held: held,
	}
	c.entries[e.id] = e
	return e, "", ""
}

// makeRoom evicts what must go for an entry of so many bytes, or says why nothing does.
func (m *model) makeRoom(store int, bytes int64) (aside plugin.Reason) {
	if maxBytes, _ := m.bounds(store); maxBytes > 0 && bytes > maxBytes {
		return plugin.ReasonTooLarge
	}
	victims, enough := m.victimsBelieved(need{store, bytes, 1})
	if !enough {
		return plugin.ReasonNoRoom
	}
	for _, v := range victims {
		m.evict(v, catalog.CauseSize)
	}
	return ""
}

// held is what an image-volume occupies: on XFS a page more, for the record of what it is.
func (m *model) held(store, content int) int64 {
	if store == 0 && m.memory {
		return contentHeld(content)
	}
	return contentHeld(content) + page
}

// count is what the report says of an answer.
func (m *model) count(want result, c making) {
	m.counts["outcome: "+string(want.Outcome)]++
	switch want.Outcome {
	case plugin.Copied, plugin.Bypassed:
		m.counts["fallback: "+string(want.Reason)]++
	default:
	}
	v := m.volumes[c.op.Volume]
	if want.Outcome == plugin.Bypassed {
		return
	}
	if want.Downloaded == 0 && want.Reason != plugin.ReasonRepeated {
		m.counts["saved"] += contentSize(v.content)
	}
	if want.Downloaded > 0 {
		m.counts["misses"]++
	} else {
		m.counts["hits"]++
	}
	if e := m.entries[v.entry]; e != nil {
		e.touch(want, c.result.At)
	}
}

func (e *entry) touch(want result, at time.Time) {
	if want.Downloaded == 0 {
		e.hits++
	}
	e.used, e.touched = at, true
}
