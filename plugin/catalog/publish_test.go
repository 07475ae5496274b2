package catalog

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

func TestPublishOfContentThatIsThere(t *testing.T) {
	tests := []struct {
		name  string
		other func(t *testing.T, c *Catalog, key Key) Entry
		want  State // of the duplicate; "": published
	}{
		{"ready", func(t *testing.T, c *Catalog, key Key) Entry {
			return mustReady(t, c, FillSpec{Store: "local", Key: key, Domain: "project:p1", ImageID: "library:other", Holder: you, LeaseFor: lease}, 7)
		}, Ready},
		{"being filled", func(t *testing.T, c *Catalog, key Key) Entry {
			return mustFill(t, c, FillSpec{Store: "local", Key: key, Domain: "project:p1", ImageID: "library:other", Holder: you, LeaseFor: lease})
		}, ""},
		{"failed", func(t *testing.T, c *Catalog, key Key) Entry {
			e := mustFill(t, c, FillSpec{Store: "local", Key: key, Domain: "project:p1", ImageID: "library:other", Holder: you, LeaseFor: lease})
			is(t, "fail", c.FailFill(t.Context(), e.ID, 1, Failure{Text: "x", RetryAfter: time.Time{}}), nil)
			return e
		}, ""},
		{"everybody's", func(t *testing.T, c *Catalog, key Key) Entry {
			return mustReady(t, c, FillSpec{Store: "local", Key: key, ImageID: "library:other", Holder: you, LeaseFor: lease}, 7)
		}, Ready},
		{"of another owner", func(t *testing.T, c *Catalog, key Key) Entry {
			return mustReady(t, c, FillSpec{Store: "local", Key: key, Domain: "project:p2", ImageID: "library:other", Holder: you, LeaseFor: lease}, 7)
		}, ""},
		{"of another owner, shared with all", func(t *testing.T, c *Catalog, key Key) Entry {
			return mustReady(t, c, FillSpec{Store: "local", Key: key, Domain: "project:p2", ImageID: "library:other", Holder: you, LeaseFor: lease}, 7)
		}, Ready},
		{"of another store", func(t *testing.T, c *Catalog, key Key) Entry {
			return mustReady(t, c, FillSpec{Store: "other", Key: key, Domain: "project:p1", ImageID: "library:other", Holder: you, LeaseFor: lease}, 7)
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, at := fresh(t)
			ctx := t.Context()
			p := published(words.ContentKey(digest, "qcow2"), 100)
			p.RevisionKey = revision
			if strings.HasSuffix(test.name, "shared with all") {
				p.Sharing = ShareAll
			}
			other := test.other(t, c, p.Key)
			at.add(time.Second)
			mine := mustFill(t, c, spec(revision))
			entry, duplicate, err := c.Publish(ctx, mine.ID, 1, p)
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if duplicate != nil || entry.State != Ready {
					t.Errorf("%+v, duplicate %+v", entry, duplicate)
				}
				return
			}
			if duplicate == nil || duplicate.ID != other.ID || duplicate.State != test.want ||
				!slices.Equal(duplicate.ImageIDs, []string{"library:other", "library:debian.qcow2"}) {
				t.Fatalf("duplicate %+v", duplicate)
			}
			same(t, "mine", entry, mine)
			is(t, "forget", c.ForgetFill(ctx, mine.ID, 1), nil)
			found, err := c.Find(ctx, "local", "project:p1", revision)
			is(t, "find", err, nil)
			same(t, "found", found, *duplicate)
		})
	}
}

func TestAReadyAliasGoesBeforeAFill(t *testing.T) {
	c, _ := fresh(t)
	ready := mustReady(t, c, spec("content"), 7)
	filling := mustFill(t, c, spec(revision))
	is(t, "add", c.AddImage(t.Context(), ready.ID, "library:debian.qcow2", revision), nil)
	found, _, start, err := c.BeginFill(t.Context(), spec(revision))
	if err != nil || start != AlreadyReady || found.ID != ready.ID {
		t.Errorf("%v, %v, %v: want %v, not %v", start, err, found.ID, ready.ID, filling.ID)
	}
}

func TestTakeOverGivesAHostItsOwnFills(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	mine := mustFill(t, c, spec("a"))
	is(t, "stage", c.RecordStage(ctx, mine.ID, 1, "iv-1", backends.Decoded, 10), nil)
	other := spec("b")
	other.Holder = you
	others := mustFill(t, c, other)
	mustReady(t, c, spec("c"), 1)

	again := Holder{Instance: me.Instance, Incarnation: "2"}
	now := at.add(time.Hour)
	fills, err := c.TakeOver(ctx, again, lease)
	if err != nil || len(fills) != 1 {
		t.Fatalf("%v, %+v", err, fills)
	}
	want := mine
	want.ImageVolume, want.Form, want.VirtualBytes = "iv-1", backends.Decoded, 10
	want.Lease, want.LeaseUntil = again, now.Add(lease)
	same(t, "taken", fills[0], want)
	same(t, "stored", mustGet(t, c, mine.ID), want)
	same(t, "another host's", mustGet(t, c, others.ID), others)
	is(t, "the earlier one renews", c.Renew(ctx, mine.ID, 1, me, lease, FillProgress{}), ErrLost)
	if fills, err = c.TakeOver(ctx, again, lease); err != nil || len(fills) != 0 {
		t.Errorf("its own: %v, %+v", err, fills)
	}
}

func TestAdopt(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	e := Entry{
		ID: "0199-adopted", Store: "local", Key: words.ContentKey(digest, "qcow2"), State: Filling, Attempt: 4,
		ImageVolume: "0199-adopted-4", Form: backends.Decoded, ImageIDs: []string{"s:b", "s:a"}, Content: backends.Content{Digest: digest, DiskFormat: "qcow2", SourceBytes: 1, VirtualBytes: 2, InspectorVersion: 7, ContentSum: "sum"},
		ReservedBytes: 9, HeldBytes: 3, Claim: "claim", Pinned: true, Hits: 5, Clones: 6,
		CreatedAt: at.now().Add(-time.Hour), Lease: me, LeaseUntil: at.now(),
	}
	is(t, "adopt", c.Adopt(ctx, e, revision), nil)
	want := e
	want.State, want.ReservedBytes, want.Lease, want.LeaseUntil = Ready, 0, Holder{}, time.Time{}
	want.FilledAt, want.LastUsedAt = at.now(), at.now()
	want.ImageIDs = []string{"s:a", "s:b"} // both at once: then by name
	found, err := c.Find(ctx, "local", "", revision)
	is(t, "find", err, nil)
	same(t, "adopted", found, want)

	is(t, "the same again", c.Adopt(ctx, e, revision), ErrLost)
	e.ID = ""
	is(t, "the same key", c.Adopt(ctx, e, revision), ErrLost)
	e.Store = "other"
	is(t, "in another store", c.Adopt(ctx, e, ""), nil)
	found, err = c.Find(ctx, "other", "", e.Key)
	if err != nil || found.ID == "" {
		t.Errorf("without an ID: %v, %+v", err, found)
	}
}
