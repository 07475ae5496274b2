package catalog

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

// wantAfter wants an entry to be superseded by another one; "" for current, imageGone for nothing.
func wantAfter(t *testing.T, what string, c *Catalog, id, by EntryID) {
	t.Helper()
	e := mustGet(t, c, id)
	superseded := !e.SupersededAt.IsZero()
	switch by {
	case "":
		if superseded || e.SupersededBy != "" {
			t.Errorf("%s: superseded by %q at %v, want current", what, e.SupersededBy, e.SupersededAt)
		}
	case imageGone:
		if !superseded || e.SupersededBy != "" {
			t.Errorf("%s: superseded by %q at %v, want by nothing", what, e.SupersededBy, e.SupersededAt)
		}
	default:
		if !superseded || e.SupersededBy != by {
			t.Errorf("%s: superseded by %q at %v, want %q", what, e.SupersededBy, e.SupersededAt, by)
		}
	}
}

func TestAnImageThatChangesLeavesItsEarlierEntryBehind(t *testing.T) {
	c, at := fresh(t)
	first := mustReady(t, c, spec("one"), 10)
	wantAfter(t, "the only one", c, first.ID, "")
	at.add(time.Second)
	second := mustReady(t, c, spec("two"), 20)
	wantAfter(t, "the earlier one", c, first.ID, second.ID)
	wantAfter(t, "the later one", c, second.ID, "")
	if a, b := mustGet(t, c, first.ID).Generation, mustGet(t, c, second.ID).Generation; a != 1 || b != 2 {
		t.Errorf("got generations %d and %d, want 1 and 2", a, b)
	}

	// Another owner's image of that name, or the same one on another store, is another image.
	other := spec("three")
	other.Domain = "project:p2"
	third := mustReady(t, c, other, 10)
	elsewhere := spec("four")
	elsewhere.Store = "files"
	fourth := mustReady(t, c, elsewhere, 10)
	for _, id := range []EntryID{second.ID, third.ID, fourth.ID} {
		wantAfter(t, "of another domain or store", c, id, "")
	}

	// What was answered before is counted later, and changes nothing; what is asked for again is current again.
	early, late := mustGet(t, c, first.ID).SupersededAt.Add(-time.Millisecond), at.now().Add(time.Second)
	used := func(id EntryID, when time.Time) {
		t.Helper()
		err := c.Record(t.Context(), "h", 0, []Request{{At: when, Backend: "local", ImageID: "library:debian.qcow2", Entry: id, Outcome: "hit"}})
		is(t, "record", err, nil)
	}
	used(first.ID, early)
	wantAfter(t, "used before", c, first.ID, second.ID)
	used(first.ID, late)
	wantAfter(t, "used again", c, first.ID, "")
	wantAfter(t, "after which it is not", c, second.ID, first.ID)
}

// Equal content under another name is still asked for.
func TestAnEntryOfSeveralImagesIsSupersededWithTheLast(t *testing.T) {
	c, at := fresh(t)
	first := mustReady(t, c, spec("one"), 10)
	is(t, "add", c.AddImage(t.Context(), first.ID, "library:alias.qcow2", "rev:alias"), nil)
	at.add(time.Second)
	second := mustReady(t, c, spec("two"), 10)
	wantAfter(t, "known as another image", c, first.ID, "")
	at.add(time.Second)
	alias := spec("three")
	alias.ImageID = "library:alias.qcow2"
	third := mustReady(t, c, alias, 10)
	wantAfter(t, "known as none any more", c, first.ID, third.ID)
	wantAfter(t, "second", c, second.ID, "")

	// The image's content turns out to be what was there.
	at.add(time.Second)
	again := mustFill(t, c, spec("rev:again"))
	_, duplicate, err := c.Publish(t.Context(), again.ID, again.Attempt, published("one", 10))
	if err != nil || duplicate == nil || duplicate.ID != first.ID {
		t.Fatalf("got %v, %v", duplicate, err)
	}
	wantAfter(t, "back again", c, first.ID, "")
	wantAfter(t, "what was in between", c, second.ID, first.ID)
}

func TestAnImageThatIsGoneLeavesItsEntryBehind(t *testing.T) {
	c, at := fresh(t)
	e := mustReady(t, c, spec("one"), 10)
	is(t, "another", c.ImageGone(t.Context(), "library:other.qcow2"), nil)
	wantAfter(t, "another one is gone", c, e.ID, "")
	for range 2 {
		is(t, "gone", c.ImageGone(t.Context(), "library:debian.qcow2"), nil)
		wantAfter(t, "gone", c, e.ID, imageGone)
	}
	at.add(time.Second)
	err := c.Record(t.Context(), "h", 0, []Request{{At: at.now(), Backend: "local", ImageID: "library:debian.qcow2", Entry: e.ID, Outcome: "hit"}})
	is(t, "record", err, nil)
	wantAfter(t, "there again", c, e.ID, "")
}

// Whichever is taken into the catalog first, the later one is current.
func TestAdoptedEntriesAreInTheOrderOfTheirFills(t *testing.T) {
	for name, order := range map[string][]EntryID{"in order": {"e-old", "e-new"}, "the later one first": {"e-new", "e-old"}} {
		t.Run(name, func(t *testing.T) {
			c, at := fresh(t)
			filled := map[EntryID]time.Time{"e-old": at.now().Add(-2 * time.Hour), "e-new": at.now().Add(-time.Hour)}
			for _, id := range order {
				err := c.Adopt(t.Context(), Entry{ID: id, Store: "local", Key: Key(id), ImageVolume: "iv", ImageIDs: []string{"s:a"},
					CreatedAt: filled[id], FilledAt: filled[id], LastUsedAt: filled[id]}, "")
				is(t, "adopt", err, nil)
			}
			wantAfter(t, "earlier", c, "e-old", "e-new")
			wantAfter(t, "later", c, "e-new", "")
		})
	}
}

func TestWhyAnImageIsAbsent(t *testing.T) {
	c, _ := fresh(t)
	const store, domain, image = "local", "project:p1", "library:debian.qcow2"
	want := func(what string, why words.MissCause, cause EvictCause) {
		t.Helper()
		got, by, err := c.WhyAbsent(t.Context(), store, domain, image)
		if err != nil || got != why || by != cause {
			t.Errorf("%s: got %q %q, %v, want %q %q", what, got, by, err, why, cause)
		}
	}
	want("at first", words.MissNeverCached, "")
	e := mustReady(t, c, spec("one"), 10)
	want("with other content", words.MissChanged, "")
	if _, err := c.BeginEvict(t.Context(), e.ID, CauseCount); err != nil {
		t.Fatal(err)
	}
	is(t, "detach", c.SetDetached(t.Context(), e.ID, 1, 10), nil)
	want("detached", words.MissEvicted, CauseCount)
	is(t, "remove", c.Remove(t.Context(), e.ID), nil)
	want("removed", words.MissEvicted, CauseCount)
	is(t, "prune", c.Prune(t.Context(), time.Now().Add(24*365*time.Hour)), nil)
	want("long ago", words.MissNeverCached, "")
}
