package catalog

import (
	"database/sql"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

const alive = 2 * lease

func mustArrive(t *testing.T, c *Catalog, h Holder) {
	t.Helper()
	is(t, "arrive", c.Arrive(t.Context(), Arrival{Holder: h, Name: "name of " + string(h.Instance), Version: "v1", AliveFor: alive}), nil)
}

// hostOf is the one daemon of that ID.
func hostOf(t *testing.T, c *Catalog, id InstanceID) Host {
	t.Helper()
	all, err := c.Hosts(t.Context())
	is(t, "list hosts", err, nil)
	for _, h := range all {
		if h.ID == id {
			return h
		}
	}
	t.Fatalf("host %s is not among %+v", id, all)
	return Host{}
}

func TestAHostIsUpThenLostThenUpThenStopped(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	began := at.now()
	state := func(what string, want HostState) Host {
		t.Helper()
		h := hostOf(t, c, me.Instance)
		if h.State != want {
			t.Errorf("%s: %s, want %s", what, h.State, want)
		}
		return h
	}
	is(t, "beat before it has arrived", c.Beat(ctx, me, alive), ErrNoHost)
	mustArrive(t, c, me)
	mustArrive(t, c, you)
	state("arrived", HostUp)
	at.add(alive)
	state("silent", HostLost)
	is(t, "beat", c.Beat(ctx, me, alive), nil)
	state("heard of again", HostUp)

	again := Holder{Instance: me.Instance, Incarnation: "2"}
	at.add(alive)
	mustArrive(t, c, again)
	is(t, "beat of the one before", c.Beat(ctx, me, alive), ErrLost)
	is(t, "the one before leaves", c.Leave(ctx, me), nil)
	h := state("begun again", HostUp)
	if h.Name != "name of host-a" || h.Version != "v1" || !h.FirstSeenAt.Equal(began) || !h.BegunAt.Equal(at.now()) || !h.LastSeenAt.Equal(at.now()) {
		t.Errorf("host: %+v", h)
	}
	is(t, "leave", c.Leave(ctx, again), nil)
	state("left", HostStopped)
}

func TestARemovedHostLetsGoOfAllThatItHeld(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	mustArrive(t, c, me)
	mustArrive(t, c, you)
	fill := mustFill(t, c, spec("k"))
	_, start, err := c.TakeDuty(ctx, dutySpec(me))
	if err != nil || start != OnDuty {
		t.Fatalf("take duty: %v, %v", start, err)
	}
	is(t, "note stores", c.SetStores(ctx, me.Instance, map[backends.Name]backends.StoreID{"ceph": "local", "spare": "files"}), nil)
	if h := hostOf(t, c, me.Instance); h.Fills != 1 || len(h.Duties) != 1 || h.Duties[0].Store != "local" {
		t.Errorf("at work: %+v", h)
	}
	_, err = c.RemoveHost(ctx, me.Instance)
	is(t, "remove one that is up", err, ErrHostUp)
	_, err = c.RemoveHost(ctx, "nobody")
	is(t, "remove nobody", err, ErrNoHost)

	at.add(lease)
	is(t, "renew", c.Renew(ctx, fill.ID, fill.Attempt, me, time.Hour, FillProgress{}), nil)
	is(t, "its stores are seen", justStores(t, c, you.Instance), nil)
	at.add(alive)
	was, err := c.RemoveHost(ctx, me.Instance)
	if err != nil || was.State != HostLost || was.Fills != 1 {
		t.Fatalf("remove: %+v, %v", was, err)
	}
	other := spec("k")
	other.Holder = you
	taken, _, start2, err := c.BeginFill(ctx, other)
	if err != nil || start2 != Started || taken.Attempt != fill.Attempt+1 {
		t.Errorf("its fill: %+v, %v, %v", taken, start2, err)
	}
	if _, start, err := c.TakeDuty(ctx, dutySpec(you)); err != nil || start != OnDuty {
		t.Errorf("its duty: %v, %v", start, err)
	}
	if all, err := c.StoresOfOthers(ctx, you.Instance); err != nil || len(all) != 0 {
		t.Errorf("its stores: %v, %v", all, err)
	}
	is(t, "it lives after all", c.Renew(ctx, fill.ID, fill.Attempt, me, lease, FillProgress{}), ErrLost)
	is(t, "and finds itself removed", c.Beat(ctx, me, alive), ErrNoHost)
}

// justStores wants another daemon to see the stores of host-a.
func justStores(t *testing.T, c *Catalog, id InstanceID) error {
	t.Helper()
	all, err := c.StoresOfOthers(t.Context(), id)
	if want := map[backends.StoreID]string{"local": "name of host-a", "files": "name of host-a"}; !maps.Equal(all, want) {
		t.Errorf("stores of others: %v, want %v", all, want)
	}
	return err
}

func TestAFillThatNobodyWorksOnIsSeizedAtTheNextAttempt(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	e := mustFill(t, c, spec("k"))
	is(t, "stage", c.RecordStage(ctx, e.ID, 1, "iv-1", backends.Decoded, 4), nil)
	is(t, "claim", c.RecordClaim(ctx, e.ID, 1, "claim-1"), nil)
	seize := func(what string, h Holder, want int) []Entry {
		t.Helper()
		got, err := c.SeizeExpired(ctx, "local", h, lease, lease)
		if err != nil || len(got) != want {
			t.Fatalf("%s: %+v, %v, want %d", what, got, err, want)
		}
		return got
	}
	at.add(2*lease - time.Second)
	seize("not overdue", you, 0)
	at.add(time.Second)
	seize("one's own", Holder{Instance: me.Instance, Incarnation: "2"}, 0)
	got := seize("overdue", you, 1)[0]
	if got.Attempt != 2 || got.ImageVolume != "iv-1" || got.Claim != "claim-1" || got.Lease != you {
		t.Errorf("seized: %+v", got)
	}
	seize("again", Holder{Instance: "host-c"}, 0)
	_, _, err := c.Publish(ctx, e.ID, 1, published("k", 1))
	is(t, "publish by the one that was stopped", err, ErrLost)
	is(t, "end", c.ForgetFill(ctx, e.ID, 2), nil)
}

func TestAnEvictionIsLeftToWhoHasBegunIt(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	e := mustReady(t, c, spec("k"), 1)
	mine, yours := as(c, me), as(c, you)
	if _, err := mine.BeginEvict(ctx, e.ID, CauseAdmin); err != nil {
		t.Fatal(err)
	}
	_, err := yours.TakeEviction(ctx, e.ID)
	is(t, "another one's", err, ErrLost)
	_, err = mine.TakeEviction(ctx, e.ID)
	is(t, "one's own", err, nil)
	at.add(lease)
	got, err := yours.TakeEviction(ctx, e.ID)
	if err != nil || got.Lease != you || got.State != Evicting {
		t.Errorf("after its lease: %+v, %v", got, err)
	}
	_, err = mine.TakeEviction(ctx, e.ID)
	is(t, "the first one's, too late", err, ErrLost)
	is(t, "end", yours.Remove(ctx, e.ID), nil)
	_, err = yours.TakeEviction(ctx, e.ID)
	is(t, "ended", err, ErrLost)
}

// as is the catalog as a daemon uses it that leases what it evicts.
func as(c *Catalog, h Holder) *Catalog {
	return &Catalog{now: c.now, place: c.place, dialect: c.dialect, writer: c.writer, readers: c.readers, marks: c.marks, maxEvents: c.maxEvents, evictor: h, evictFor: lease}
}

// Two hosts have a store each that both call local: what each was asked for is counted on its own.
func TestANameMeansAHostsOwnStore(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	for host, store := range map[Holder]backends.StoreID{me: "disk-a", you: "disk-b"} {
		mustArrive(t, c, host)
		if _, err := c.Bind(ctx, Store{ID: store, Name: "local", Kind: "file"}, "local"); err != nil {
			t.Fatal(err)
		}
		is(t, "note stores", c.SetStores(ctx, host.Instance, map[backends.Name]backends.StoreID{"local": store}), nil)
	}
	for _, host := range []Holder{me, you, you} {
		r := Request{At: at.now(), Backend: "local", ImageID: "i", Outcome: "hit", Reason: "ready"}
		is(t, "record", c.Record(ctx, host.Instance, 0, []Request{r}), nil)
	}
	got := make(map[backends.StoreID]int64)
	err := c.read(ctx, "read sums", func(t tx) error {
		return t.each(ctx, func(rows *sql.Rows) error {
			var store backends.StoreID
			var n int64
			err := rows.Scan(&store, &n)
			got[store] = n
			return err
		}, `SELECT backend, SUM(requests) FROM request_stats GROUP BY backend`)
	})
	is(t, "sums", err, nil)
	if want := map[backends.StoreID]int64{"disk-a": 1, "disk-b": 2}; !maps.Equal(got, want) {
		t.Errorf("requests by store: %v, want %v", got, want)
	}
}

// What a removed host may have left beside its rows is another one's to settle, where another one has the store, and its own
// again if it comes back.
func TestARemovedHostLeavesAnEstate(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	mustArrive(t, c, me)
	mustArrive(t, c, you)
	is(t, "its stores", c.SetStores(ctx, me.Instance, map[backends.Name]backends.StoreID{"ceph": "pool", "nfs": "share", "files": "own"}), nil)
	is(t, "others' stores", c.SetStores(ctx, you.Instance, map[backends.Name]backends.StoreID{"rbd": "pool", "nfs": "share"}), nil)
	left := func(what string, store backends.StoreID, want ...InstanceID) {
		t.Helper()
		if got, err := c.Estates(ctx, store); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: on %s got %v, %v, want %v", what, store, got, err, want)
		}
	}
	left("while it is up", "pool")
	at.add(alive)
	is(t, "others live", c.Beat(ctx, you, alive), nil)
	if _, err := c.RemoveHost(ctx, me.Instance); err != nil {
		t.Fatal(err)
	}
	left("removed", "pool", me.Instance)
	left("removed", "share", me.Instance)
	left("removed", "own")
	is(t, "end", c.EndEstate(ctx, me.Instance, "share"), nil)
	is(t, "end again", c.EndEstate(ctx, me.Instance, "share"), nil)
	left("settled", "share")
	mustArrive(t, c, me)
	left("back", "pool")
}
