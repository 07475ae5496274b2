package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends"
)

// model is what the catalog should hold: the same rules in the plainest form, over a map.
type model struct {
	t    *rapid.T
	c    *Catalog
	at   *clock
	rows map[EntryID]*Entry
	keys map[EntryID]Key // what they are found by
	gone map[EvictCause]EvictionStat
}

// row draws a row that is, or was, there, and an attempt that may be its own.
func (m *model) row() (EntryID, int) {
	ids := append([]EntryID{"absent"}, slices.Sorted(maps.Keys(m.rows))...)
	id := rapid.SampledFrom(ids).Draw(m.t, "id")
	attempt := 1
	if e, ok := m.rows[id]; ok {
		attempt = e.Attempt
	}
	return id, attempt - rapid.SampledFrom([]int{0, 0, 0, 0, 1}).Draw(m.t, "stale")
}

func (m *model) key() Key { return rapid.SampledFrom([]Key{"a", "b", "c"}).Draw(m.t, "key") }

func (m *model) live(key Key) *Entry {
	for _, e := range m.rows {
		if m.keys[e.ID] == key && (e.State == Filling || e.State == Ready || e.State == Failed) {
			return e
		}
	}
	return nil
}

// of are the other live rows with that content.
func (m *model) of(key Key, but *Entry) []*Entry {
	var found []*Entry
	for _, e := range m.rows {
		if e != but && e.Key == key && (e.State == Filling || e.State == Ready || e.State == Failed) {
			found = append(found, e)
		}
	}
	return found
}

// filling is the row where it is filling at that attempt.
func (m *model) filling(id EntryID, attempt int) *Entry {
	if e := m.rows[id]; e != nil && e.State == Filling && e.Attempt == attempt {
		return e
	}
	return nil
}

// expect compares errors by the sentinel that they are.
func (m *model) expect(got error, ok bool, otherwise error) {
	want := otherwise
	if ok {
		want = nil
	}
	if !errors.Is(got, want) || want == nil && got != nil {
		m.t.Fatalf("got %v, want %v", got, want)
	}
}

func (m *model) begin(*rapid.T) {
	s := FillSpec{
		Store: "s", Key: m.key(), ImageID: "s:i", LeaseFor: lease,
		Holder: Holder{Instance: rapid.SampledFrom([]InstanceID{"x", "y"}).Draw(m.t, "instance")},
	}
	e, previous, start, err := m.c.BeginFill(m.t.Context(), s)
	if err != nil {
		m.t.Fatal(err)
	}
	now := m.at.now()
	want, wantPrevious := Started, Entry{}
	there := m.live(s.Key)
	switch {
	case there == nil:
		there = &Entry{ID: e.ID, Store: "s", Key: s.Key, State: Filling, ImageIDs: []string{"s:i"}, CreatedAt: now}
		m.rows[e.ID], m.keys[e.ID] = there, s.Key
	case there.State == Ready:
		want = AlreadyReady
	case there.State == Filling && there.LeaseUntil.After(now):
		want = Busy
	case there.State == Failed && there.RetryAfter.After(now):
		want = Waiting
	case there.State == Filling:
		wantPrevious = *there
	}
	if want == Started {
		there.State, there.RetryAfter, there.ReservedBytes, there.ImageVolume = Filling, time.Time{}, 0, ""
		there.Form, there.Failure, there.FailedAt = "", "", time.Time{}
		there.Attempt++
		there.Lease, there.LeaseUntil = s.Holder, now.Add(lease)
	}
	if start != want {
		m.t.Fatalf("got %v, want %v", start, want)
	}
	same(m.t, "begun", e, *there)
	same(m.t, "previous", previous, wantPrevious)
}

func (m *model) stage(*rapid.T) {
	id, attempt := m.row()
	iv := backends.ImageVolumeID(fmt.Sprintf("%s-%d", id, attempt))
	err := m.c.RecordStage(m.t.Context(), id, attempt, iv, backends.Decoded, 40)
	e := m.filling(id, attempt)
	m.expect(err, e != nil, ErrLost)
	if e != nil {
		e.ImageVolume, e.Form, e.VirtualBytes = iv, backends.Decoded, 40
	}
}

func (m *model) renew(*rapid.T) {
	id, attempt := m.row()
	e := m.filling(id, attempt)
	holder := Holder{Instance: rapid.SampledFrom([]InstanceID{"x", "y"}).Draw(m.t, "instance")}
	err := m.c.Renew(m.t.Context(), id, attempt, holder, lease, FillProgress{})
	ok := e != nil && e.Lease == holder
	m.expect(err, ok, ErrLost)
	if ok {
		e.LeaseUntil = m.at.now().Add(lease)
	}
}

func (m *model) room(*rapid.T) {
	id, attempt := m.row()
	victim := rapid.SampledFrom(append([]EntryID{""}, slices.Sorted(maps.Keys(m.rows))...)).Draw(m.t, "victim")
	bytes := rapid.Int64Range(0, 100).Draw(m.t, "bytes")
	var counted, want int64
	_, err := m.c.ReserveRoom(m.t.Context(), id, attempt, bytes, func(h Holdings) (map[EntryID]EvictCause, error) {
		counted = countedBytes(h)
		if victim == "" {
			return nil, nil
		}
		return map[EntryID]EvictCause{victim: CauseSize}, nil
	})
	e := m.filling(id, attempt)
	if e == nil {
		m.expect(err, false, ErrLost)
		return
	}
	for _, other := range m.rows {
		switch {
		case other.ID == id || other.State == Failed:
		case other.State == Detached:
			want += other.HeldBytes
		default:
			want += other.CountedBytes()
		}
	}
	if counted != want {
		m.t.Fatalf("counted %d bytes, want %d", counted, want)
	}
	if victim != "" {
		v := m.rows[victim]
		if v.State != Ready || v.Pinned {
			if err == nil {
				m.t.Fatalf("a victim that is %s was taken", v.State)
			}
			return
		}
		v.State, v.EvictCause = Evicting, CauseSize
	}
	m.expect(err, true, nil)
	e.ReservedBytes = bytes
}

func (m *model) publish(*rapid.T) {
	id, attempt := m.row()
	key, bytes := m.key(), rapid.Int64Range(1, 100).Draw(m.t, "bytes")
	entry, duplicate, err := m.c.Publish(m.t.Context(), id, attempt, published(key, bytes))
	e := m.filling(id, attempt)
	m.expect(err, e != nil, ErrLost)
	if e == nil {
		return
	}
	others := m.of(key, e)
	for _, other := range others {
		if other.State == Ready {
			if duplicate == nil {
				m.t.Fatal("published twice")
			}
			same(m.t, "duplicate", *duplicate, *other)
			return
		}
	}
	p := published(key, bytes)
	for _, other := range others {
		if other.State == Failed {
			delete(m.rows, other.ID)
		}
	}
	if other := m.live(key); other == nil || other == e {
		m.keys[e.ID] = key
	}
	e.State, e.Key, e.Digest, e.DiskFormat, e.InspectorVersion = Ready, key, p.Digest, p.DiskFormat, p.InspectorVersion
	e.ContentSum = p.ContentSum
	e.SourceBytes, e.VirtualBytes, e.HeldBytes, e.ReservedBytes = p.SourceBytes, p.VirtualBytes, p.HeldBytes, 0
	e.FilledAt, e.LastUsedAt = m.at.now(), m.at.now()
	e.Lease, e.LeaseUntil, e.LastError, e.FailedAt = Holder{}, time.Time{}, "", time.Time{}
	same(m.t, "published", entry, *e)
}

func (m *model) fail(*rapid.T) {
	id, attempt := m.row()
	retry := m.at.now().Add(time.Minute)
	err := m.c.FailFill(m.t.Context(), id, attempt, Failure{Text: "broke", Record: "broken", RetryAfter: retry})
	e := m.filling(id, attempt)
	m.expect(err, e != nil, ErrLost)
	if e != nil {
		e.State, e.LastError, e.Failure, e.FailedAt, e.RetryAfter, e.ReservedBytes = Failed, "broke", "broken", m.at.now(), retry, 0
		e.ImageVolume, e.Form, e.Lease, e.LeaseUntil = "", "", Holder{}, time.Time{}
	}
}

func (m *model) forget(*rapid.T) {
	id, attempt := m.row()
	err := m.c.ForgetFill(m.t.Context(), id, attempt)
	m.expect(err, m.filling(id, attempt) != nil, ErrLost)
	if err == nil {
		delete(m.rows, id)
	}
}

func (m *model) pin(*rapid.T) {
	id, _ := m.row()
	pinned := rapid.Bool().Draw(m.t, "pinned")
	_, err := m.c.SetPinned(m.t.Context(), id, pinned)
	e := m.rows[id]
	m.expect(err, e != nil, ErrNotFound)
	if e != nil {
		e.Pinned = pinned
	}
}

func (m *model) evict(*rapid.T) {
	id, _ := m.row()
	_, err := m.c.BeginEvict(m.t.Context(), id, CauseAdmin)
	e := m.rows[id]
	switch {
	case e == nil:
		m.expect(err, false, ErrNotFound)
	case e.State != Ready:
		m.expect(err, false, ErrLost)
	case e.Pinned:
		m.expect(err, false, ErrPinned)
	default:
		m.expect(err, true, nil)
		e.State, e.EvictCause = Evicting, CauseAdmin
	}
}

func (m *model) detach(*rapid.T) {
	id, _ := m.row()
	clones, bytes := rapid.IntRange(0, 9).Draw(m.t, "clones"), rapid.Int64Range(0, 100).Draw(m.t, "bytes")
	err := m.c.SetDetached(m.t.Context(), id, clones, bytes)
	e := m.rows[id]
	ok := e != nil && (e.State == Evicting || e.State == Detached)
	m.expect(err, ok, ErrLost)
	if ok {
		e.State, e.Clones, e.HeldBytes = Detached, clones, bytes
	}
}

func (m *model) remove(*rapid.T) {
	id, _ := m.row()
	err := m.c.Remove(m.t.Context(), id)
	e := m.rows[id]
	m.expect(err, e == nil || e.State != Filling && e.State != Ready, ErrLost)
	if e == nil || err != nil {
		return
	}
	delete(m.rows, id)
	if e.State != Failed {
		stat := m.gone[e.EvictCause]
		m.gone[e.EvictCause] = EvictionStat{"s", e.EvictCause, stat.Count + 1, stat.Bytes + e.HeldBytes}
	}
}

func (m *model) use(*rapid.T) {
	id, _ := m.row()
	at := m.at.now().Add(-time.Duration(rapid.IntRange(0, 60).Draw(m.t, "ago")) * time.Second)
	err := m.c.Record(m.t.Context(), "x", 0, []Request{{At: at, Backend: "s", Entry: id, Outcome: "hit", Clones: 1}})
	m.expect(err, true, nil)
	if e := m.rows[id]; e != nil && e.State != Filling && e.State != Failed {
		e.Hits++
		if e.State != Detached {
			e.Clones++
		}
		if at.After(e.LastUsedAt) {
			e.LastUsedAt = at
		}
	}
}

func (m *model) wait(*rapid.T) {
	m.at.add(time.Duration(rapid.IntRange(1, 40).Draw(m.t, "seconds")) * time.Second)
}

// check compares all that is stored.
func (m *model) check(*rapid.T) {
	entries, err := m.c.List(m.t.Context(), Filter{})
	if err != nil || len(entries) != len(m.rows) {
		m.t.Fatalf("%d entries, %v, want %d", len(entries), err, len(m.rows))
	}
	for _, e := range entries {
		if m.rows[e.ID] == nil {
			m.t.Fatalf("%s is there", e.ID)
		}
		same(m.t, "stored", e, *m.rows[e.ID])
	}
	if wrong, err := m.c.Miscounted(m.t.Context()); err != nil || len(wrong) != 0 {
		m.t.Fatalf("miscounted: %v, %v", wrong, err)
	}
	stats, err := m.c.Evictions(m.t.Context(), time.Time{})
	want := slices.SortedFunc(maps.Values(m.gone), func(a, b EvictionStat) int { return slices.Compare([]byte(a.Cause), []byte(b.Cause)) })
	if err != nil || !slices.Equal(stats, want) {
		m.t.Fatalf("evictions %+v, %v, want %+v", stats, err, want)
	}
}

// emptied removes all rows of a table, also those that another node of a cluster has just been given.
func emptied(ctx context.Context, c *Catalog, table string) error {
	return c.write(ctx, "empty "+table, func(t tx) error {
		_, err := t.exec(ctx, "DELETE FROM "+table)
		return err
	})
}

func TestStatesFollowTheModel(t *testing.T) {
	at := newClock()
	c := open(t, anew(t), at.now)
	unsynced(t, c)
	rapid.Check(t, func(rt *rapid.T) {
		for _, table := range []string{"entries", "eviction_stats"} {
			if err := emptied(rt.Context(), c, table); err != nil {
				rt.Fatal(err)
			}
		}
		m := &model{t: rt, c: c, at: at, rows: make(map[EntryID]*Entry), keys: make(map[EntryID]Key), gone: make(map[EvictCause]EvictionStat)}
		rt.Repeat(map[string]func(*rapid.T){
			"begin": m.begin, "begin again": m.begin, "stage": m.stage, "renew": m.renew, "room": m.room,
			"publish": m.publish, "publish another": m.publish, "fail": m.fail, "forget": m.forget, "pin": m.pin,
			"evict": m.evict, "detach": m.detach, "remove": m.remove, "use": m.use, "wait": m.wait, "": m.check,
		})
	})
}
