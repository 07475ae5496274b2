package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

var (
	me  = Holder{Instance: "host-a", Incarnation: "1"}
	you = Holder{Instance: "host-b", Incarnation: "1"}
)

const (
	digest   = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	revision = Key("rev:library:debian.qcow2@123-456/qcow2")
	lease    = 30 * time.Second
)

func spec(key Key) FillSpec {
	return FillSpec{Store: "local", Key: key, Domain: "project:p1", ImageID: "library:debian.qcow2", Holder: me, LeaseFor: lease}
}

// mustFill begins a fill that is expected to start.
func mustFill(t testing.TB, c *Catalog, s FillSpec) Entry {
	t.Helper()
	e, previous, start, err := c.BeginFill(t.Context(), s)
	if err != nil || start != Started || previous.ID != "" {
		t.Fatalf("begin fill of %s: %v, %v, previous %+v", s.Key, start, err, previous)
	}
	return e
}

func published(key Key, bytes int64) Published {
	return Published{
		Key: key, Content: backends.Content{Digest: digest, DiskFormat: "qcow2", SourceBytes: bytes, VirtualBytes: 4 * bytes, InspectorVersion: 3, ContentSum: "sum"},
		HeldBytes: bytes,
	}
}

// mustReady makes a ready entry.
func mustReady(t testing.TB, c *Catalog, s FillSpec, bytes int64) Entry {
	t.Helper()
	e := mustFill(t, c, s)
	iv := backends.ImageVolumeID(fmt.Sprintf("%s-%d", e.ID, e.Attempt))
	if err := c.RecordStage(t.Context(), e.ID, e.Attempt, iv, backends.Decoded, 4*bytes); err != nil {
		t.Fatal(err)
	}
	ready, duplicate, err := c.Publish(t.Context(), e.ID, e.Attempt, published(s.Key, bytes))
	if err != nil || duplicate != nil {
		t.Fatalf("publish: %v, duplicate %v", err, duplicate)
	}
	return ready
}

func mustGet(t testing.TB, c *Catalog, id EntryID) Entry {
	t.Helper()
	e, err := c.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// mustPin pins or unpins an entry, and sees that the answer is the entry as that left it.
func mustPin(t testing.TB, c *Catalog, id EntryID, pinned bool) {
	t.Helper()
	want := mustGet(t, c, id)
	want.Pinned = pinned
	got, err := c.SetPinned(t.Context(), id, pinned)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "pinned", got, want)
}

// reporter is a *testing.T or *rapid.T.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// same compares entries whole.
func same(t reporter, what string, got, want Entry) {
	t.Helper()
	for _, e := range []*Entry{&got, &want} { // what comes after what has tests of its own: superseded_test.go
		e.SupersededBy, e.SupersededAt, e.Generation = "", time.Time{}, 0
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got\n%+v\nwant\n%+v", what, got, want)
	}
}

func is(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestAFillFromBeginToEnd(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	begun := at.now()
	want := Entry{
		Store: "local", Key: revision, Domain: "project:p1", State: Filling, Attempt: 1,
		ImageIDs: []string{"library:debian.qcow2"}, CreatedAt: begun, Lease: me, LeaseUntil: begun.Add(lease),
	}
	e := mustFill(t, c, spec(revision))
	want.ID = e.ID
	same(t, "begun", e, want)

	is(t, "claim", c.RecordClaim(ctx, e.ID, 1, "claim-1"), nil)
	is(t, "stage", c.RecordStage(ctx, e.ID, 1, "iv-1", backends.Decoded, 400), nil)
	_, err := c.ReserveRoom(ctx, e.ID, 1, 150, func(Holdings) (map[EntryID]EvictCause, error) { return nil, nil })
	is(t, "room", err, nil)
	renewed := at.add(10 * time.Second)
	is(t, "renew", c.Renew(ctx, e.ID, 1, me, lease, FillProgress{}), nil)
	want.Claim, want.ImageVolume, want.Form, want.VirtualBytes = "claim-1", "iv-1", backends.Decoded, 400
	want.ReservedBytes, want.LeaseUntil = 150, renewed.Add(lease)
	same(t, "filling", mustGet(t, c, e.ID), want)

	done := at.add(time.Second)
	p := published(words.ContentKey(digest, "qcow2"), 100)
	p.RevisionKey = revision
	ready, duplicate, err := c.Publish(ctx, e.ID, 1, p)
	if err != nil || duplicate != nil {
		t.Fatalf("publish: %v, duplicate %v", err, duplicate)
	}
	want.State, want.Key, want.Digest, want.DiskFormat = Ready, p.Key, digest, "qcow2"
	want.SourceBytes, want.VirtualBytes, want.HeldBytes, want.ReservedBytes = 100, 400, 100, 0
	want.InspectorVersion, want.FilledAt, want.LastUsedAt = 3, done, done
	want.ContentSum = "sum"
	want.Lease, want.LeaseUntil = Holder{}, time.Time{}
	same(t, "ready", ready, want)
	same(t, "got", mustGet(t, c, e.ID), want)

	for _, key := range []Key{revision, p.Key} {
		found, err := c.Find(ctx, "local", "project:p1", key)
		is(t, "find", err, nil)
		same(t, "found by "+string(key), found, want)
		there, _, start, err := c.BeginFill(ctx, spec(key))
		if err != nil || start != AlreadyReady {
			t.Errorf("begin again: %v, %v", start, err)
		}
		same(t, "there", there, want)
	}
	for name, by := range map[string]struct {
		store  backends.StoreID
		domain string
		key    Key
		want   error
	}{
		"other store": {"other", "project:p1", revision, ErrNotFound}, "content of another domain": {"local", "", p.Key, ErrNotFound},
		"the image, whoever owns it now": {"local", "", revision, nil},
	} {
		_, err := c.Find(ctx, by.store, by.domain, by.key)
		is(t, name, err, by.want)
	}
	aliases, err := c.Aliases(ctx)
	if want := map[Key][]EntryID{revision: {e.ID}}; err != nil || !reflect.DeepEqual(aliases, want) {
		t.Errorf("aliases %v, %v, want %v", aliases, err, want)
	}
}

func TestAFailedFillIsTriedAgainWhenItsTimeHasCome(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	first := mustFill(t, c, spec("k"))
	is(t, "claim", c.RecordClaim(ctx, first.ID, 1, "claim-1"), nil)
	retry := at.now().Add(time.Minute)
	is(t, "fail", c.FailFill(ctx, first.ID, 1, Failure{Text: "digest differs", RetryAfter: retry}), nil)

	waiting, _, start, err := c.BeginFill(ctx, spec("k"))
	if err != nil || start != Waiting || waiting.LastError != "digest differs" || !waiting.RetryAfter.Equal(retry) || waiting.Claim != "" {
		t.Errorf("waiting: %v, %v, %+v", start, err, waiting)
	}
	at.add(time.Minute)
	second := mustFill(t, c, spec("k"))
	if second.ID != first.ID || second.Attempt != 2 || second.State != Filling || !second.RetryAfter.IsZero() {
		t.Errorf("second: %+v", second)
	}
	is(t, "publish of the first", c.FailFill(ctx, first.ID, 1, Failure{Text: "late", RetryAfter: retry}), ErrLost)
}

func TestAnExpiredLeaseIsTakenOver(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	first := mustFill(t, c, spec("k"))
	is(t, "claim", c.RecordClaim(ctx, first.ID, 1, "claim-1"), nil)
	is(t, "stage", c.RecordStage(ctx, first.ID, 1, "iv-1", backends.Decoded, 10), nil)
	s := spec("k")
	s.Holder = you

	at.add(lease - time.Microsecond)
	if _, _, start, err := c.BeginFill(ctx, s); err != nil || start != Busy {
		t.Errorf("before it expires: %v, %v", start, err)
	}
	at.add(time.Microsecond)
	is(t, "renew after it expired", c.Renew(ctx, first.ID, 1, me, lease, FillProgress{}), nil)
	at.add(lease)
	before := mustGet(t, c, first.ID)
	second, previous, start, err := c.BeginFill(ctx, s)
	if err != nil || start != Started {
		t.Fatalf("taking over: %v, %v", start, err)
	}
	same(t, "previous", previous, before)
	if second.Attempt != 2 || second.ImageVolume != "" || second.Claim != "" || second.Lease != you {
		t.Errorf("second: %+v", second)
	}

	_, reserved := c.ReserveRoom(ctx, first.ID, 1, 5, func(Holdings) (map[EntryID]EvictCause, error) {
		t.Error("decide was asked")
		return nil, nil
	})
	_, _, publishErr := c.Publish(ctx, first.ID, 1, published("k", 1))
	for name, err := range map[string]error{
		"renew":    c.Renew(ctx, first.ID, 1, me, lease, FillProgress{}),
		"claim":    c.RecordClaim(ctx, first.ID, 1, "x"),
		"stage":    c.RecordStage(ctx, first.ID, 1, "x", backends.Decoded, 1),
		"room":     reserved,
		"publish":  publishErr,
		"fail":     c.FailFill(ctx, first.ID, 1, Failure{Text: "x", RetryAfter: time.Time{}}),
		"forget":   c.ForgetFill(ctx, first.ID, 1),
		"not mine": c.Renew(ctx, second.ID, 2, me, lease, FillProgress{}),
	} {
		is(t, name, err, ErrLost)
	}
	same(t, "afterwards", mustGet(t, c, second.ID), second)
	is(t, "forget", c.ForgetFill(ctx, second.ID, 2), nil)
	_, err = c.Get(ctx, second.ID)
	is(t, "forgotten", err, ErrNotFound)
}

func TestListSelectsAndPages(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	var all []EntryID
	for n := range 10 {
		s := spec(Key(fmt.Sprint("k", n)))
		if n%2 == 1 {
			s.Store = "other"
		}
		if n < 7 {
			all = append(all, mustReady(t, c, s, 1).ID)
		} else {
			all = append(all, mustFill(t, c, s).ID)
		}
	}
	for range 2 {
		is(t, "add", c.AddImage(ctx, all[3], "web:second", "rev:1"), nil)
		is(t, "add", c.AddImage(ctx, all[3], "web:second", "rev:2"), nil)
	}
	is(t, "add to nothing", c.AddImage(ctx, "absent", "web:second", ""), ErrNotFound)
	tests := []struct {
		name   string
		filter Filter
		want   []EntryID
	}{
		{"all", Filter{}, all},
		{"store", Filter{Store: "other"}, []EntryID{all[1], all[3], all[5], all[7], all[9]}},
		{"state", Filter{States: []State{Filling}}, all[7:]},
		{"states", Filter{States: []State{Filling, Ready}}, all},
		{"no such state", Filter{States: []State{Detached}}, nil},
		{"image", Filter{ImageID: "web:second"}, all[3:4]},
		{"first page", Filter{Limit: 4}, all[:4]},
		{"next page", Filter{Limit: 4, After: ListPlace{ID: all[3]}}, all[4:8]},
		{"last page", Filter{Limit: 4, After: ListPlace{ID: all[7]}}, all[8:]},
		{"everything", Filter{Store: "other", States: []State{Ready}, ImageID: "library:debian.qcow2", After: ListPlace{ID: all[1]}, Limit: 1}, all[3:4]},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			entries, err := c.List(ctx, test.filter)
			if err != nil {
				t.Fatal(err)
			}
			var got []EntryID
			for _, e := range entries {
				got = append(got, e.ID)
				same(t, "listed", e, mustGet(t, c, e.ID))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestEveryFieldSurvivesReopening(t *testing.T) {
	cfg := anew(t)
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	odd := "a'b\"c|d\\\n?$1 ünï \x01"
	s := FillSpec{Store: backends.StoreID(odd), Key: Key(odd), Domain: odd, ImageID: odd, Holder: Holder{InstanceID(odd), odd}, LeaseFor: lease}
	e := mustFill(t, c, s)
	is(t, "fail", c.FailFill(t.Context(), e.ID, 1, Failure{Text: strings.Repeat("ü", maxError), RetryAfter: time.Date(2200, 1, 2, 3, 4, 5, 6000, time.UTC)}), nil)
	want := mustGet(t, c, e.ID)
	if len(want.LastError) > maxError || want.LastError == "" {
		t.Errorf("an error of %d bytes", len(want.LastError))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, cfg, nil)
	found, err := c.Find(t.Context(), s.Store, odd, s.Key)
	is(t, "find", err, nil)
	same(t, "reopened", found, want)
	text, err := json.Marshal(found)
	is(t, "marshal", err, nil)
	var back Entry
	is(t, "unmarshal", json.Unmarshal(text, &back), nil)
	same(t, "through JSON", back, want)
}

func TestKeysOfNeighboursDoNotMeet(t *testing.T) {
	if a, b := live(`a"`, `b`, "k"), live(`a`, `"b`, "k"); a == b {
		t.Errorf("%s is %s", a, b)
	}
}

func TestTheDatabasesClock(t *testing.T) {
	c := open(t, anew(t), nil)
	before := time.Now().Add(-time.Millisecond)
	e := mustFill(t, c, spec("k"))
	if after := time.Now(); e.CreatedAt.Before(before) || e.CreatedAt.After(after) {
		t.Errorf("created at %v, not between %v and %v", e.CreatedAt, before, after)
	}
	if got := e.LeaseUntil.Sub(e.CreatedAt); got != lease {
		t.Errorf("leased for %v", got)
	}
}
