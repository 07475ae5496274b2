package plugin

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/catalog/catalogtest"
)

// roomBegan is when the first entries of these tests were made.
var roomBegan = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func drawTime(t *rapid.T, name string) time.Time {
	return roomBegan.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, name)) * time.Minute)
}

// drawEntry puts an entry into the catalog.
func drawEntry(t *rapid.T, c *catalog.Catalog, key catalog.Key) {
	e := catalog.Entry{
		Store: "s", Key: key, State: catalog.Ready, HeldBytes: rapid.Int64Range(0, 50).Draw(t, "bytes"),
		Pinned: rapid.IntRange(0, 5).Draw(t, "pinned") == 0, Hits: rapid.Int64Range(0, 10).Draw(t, "hits"),
		Clones: max(0, rapid.IntRange(-3, 3).Draw(t, "clones")), CreatedAt: drawTime(t, "created"), LastUsedAt: drawTime(t, "used"),
	}
	e.ID = catalog.EntryID(fmt.Sprintf("%s-%d", key, rapid.IntRange(0, 99).Draw(t, "id")))
	state := rapid.SampledFrom([]catalog.State{catalog.Ready, catalog.Ready, catalog.Ready, catalog.Ready, catalog.Evicting, catalog.Detached, catalog.Filling}).Draw(t, "state")
	if rapid.IntRange(0, 9).Draw(t, "elsewhere") == 0 {
		e.Store = "other"
	}
	if state == catalog.Filling {
		f := beginFill(t, c, e.Store, key)
		if _, err := c.ReserveRoom(t.Context(), f.ID, f.Attempt, e.HeldBytes, nobody); err != nil {
			t.Fatal(err)
		}
		return
	}
	if state == catalog.Detached {
		e.State = state
	}
	if err := c.Adopt(t.Context(), e, ""); err != nil {
		t.Fatal(err)
	}
	if state == catalog.Evicting && !e.Pinned {
		if _, err := c.BeginEvict(t.Context(), e.ID, catalog.CauseAdmin); err != nil {
			t.Fatal(err)
		}
	}
}

func nobody(catalog.Holdings) (map[catalog.EntryID]catalog.EvictCause, error) { return nil, nil }

func beginFill(t *rapid.T, c *catalog.Catalog, store backends.StoreID, key catalog.Key) catalog.Entry {
	e, _, start, err := c.BeginFill(t.Context(), catalog.FillSpec{Store: store, Key: key, ImageID: "s:i", LeaseFor: time.Hour})
	if err != nil || start != catalog.Started {
		t.Fatalf("begin to fill: %v, %v", start, err)
	}
	return e
}

func drawBounds(t *rapid.T) (lru.Bounds, backends.Capacity) {
	optional := func(name string, most int) int { return max(0, rapid.IntRange(-most, most).Draw(t, name)) }
	return lru.Bounds{
		MaxBytes: int64(optional("max bytes", 300)), MaxCount: optional("max count", 12), MaxPercent: optional("max percent", 100),
		KeepInUse: rapid.Bool().Draw(t, "keep in use"), MinAge: time.Duration(optional("min age", 60)) * time.Minute,
		MinHits: int64(optional("min hits", 10)),
	}, backends.Capacity{TotalBytes: int64(optional("capacity", 1000))}
}

func TestRoomIsDecidedAsByOneWhoHasReadAllRows(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "room-") // nothing is killed here: no disk need be waited for
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var runs int
	rapid.Check(t, func(t *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		defer os.Remove(path)
		catalogtest.Begin(t, path)
		c, err := catalog.Open(t.Context(), catalog.Config{Access: catalog.Access{URL: catalog.FileURL(path)}, Now: func() time.Time { return roomBegan }})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range rapid.IntRange(0, 15).Draw(t, "entries") {
			drawEntry(t, c, catalog.Key(fmt.Sprint("k", i)))
		}
		comparePlans(t, c)
	})
}

// comparePlans lets a fill decide about room, and has the same decided with all rows at hand.
func comparePlans(t *rapid.T, c *catalog.Catalog) {
	own := beginFill(t, c, "s", "own")
	bounds, capacity := drawBounds(t)
	need := lru.Need{Bytes: rapid.Int64Range(0, 100).Draw(t, "need"), Count: 1}
	now := drawTime(t, "now")
	rows, err := c.List(t.Context(), catalog.Filter{Store: "s"})
	if err != nil {
		t.Fatal(err)
	}
	rows = slices.DeleteFunc(rows, func(e catalog.Entry) bool { return e.ID == own.ID })
	want, wantErr := lru.Plan(now, need, load(rows, capacity).Stock(), bounds)
	var got []lru.Victim
	var gotErr error
	victims, err := c.ReserveRoom(t.Context(), own.ID, own.Attempt, need.Bytes, func(h catalog.Holdings) (map[catalog.EntryID]catalog.EvictCause, error) {
		got, gotErr = lru.Plan(now, need, inventory(context.WithoutCancel(t.Context()), h, capacity), bounds)
		return causes(got), gotErr
	})
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotErr, wantErr) || err != gotErr {
		t.Fatalf("got %v, %v, %v; want %v, %v", got, gotErr, err, want, wantErr)
	}
	gone := make(map[catalog.EntryID]catalog.EvictCause)
	for _, v := range victims {
		gone[v.ID] = v.EvictCause
	}
	if !maps.Equal(gone, causes(want)) {
		t.Fatalf("evicting %v, want %v", gone, want)
	}
}

// manyEntries makes n ready entries, each used a second after the one before; those used last have no
// hits, which is what a store looks like where one-shot images displace each other.
const manyEntries = `INSERT INTO entries (id, store, content_key, domain, live_key, state, attempt, image_volume, form,
	digest, disk_format, source_bytes, virtual_bytes, reserved_bytes, held_bytes, claim, pinned, hits, clones,
	inspector_version, evict_cause, created_at, filled_at, last_used_at, lease_host, lease_incarnation, lease_until,
	last_error, retry_after)
	WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
	SELECT printf('e-%08d', i), 's', printf('k-%08d', i), '', printf('live-%08d', i), 'ready', 1, '', 'decoded',
	'', 'raw', 10, 10, 0, 10, '', 0, CASE WHEN i + 5 < ?1 THEN i % 20 + 2 ELSE 0 END, 0,
	1, '', ?2 + i * 1000000, ?2, ?2 + i * 1000000, '', '', 0,
	'', 0 FROM n`

// BenchmarkDecide is a decision about room, in its transaction, as a fill needs one each 64 MiB.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 100_000} {
		dir, err := os.MkdirTemp("/dev/shm", "room-") // what is measured is not the disk
		if err != nil {
			dir = b.TempDir()
		}
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		path := filepath.Join(dir, "catalog.db")
		c, err := catalog.Open(b.Context(), catalog.Config{Access: catalog.Access{URL: catalog.FileURL(path)}})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		db, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(b.Context(), manyEntries, n, roomBegan.UnixMicro()); err != nil {
			b.Fatal(err)
		}
		own, _, _, err := c.BeginFill(b.Context(), catalog.FillSpec{Store: "s", Key: "own", ImageID: "s:i", LeaseFor: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		now := roomBegan.Add(time.Duration(n) * time.Second)
		for name, bounds := range map[string]lru.Bounds{
			"Fits": {MaxCount: n + 1}, "OneGoes": {MaxCount: n}, "FiveGo": {MaxBytes: 10*int64(n) - 40},
			"OneUnprovenGoes": {MaxCount: n, MinHits: 2}, "OneGoesOthersAreYoung": {MaxCount: n, MinAge: 5 * time.Second},
			"NoRoom": {MaxCount: n / 2, MinAge: time.Duration(n) * time.Second},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					_, err := c.ReserveRoom(b.Context(), own.ID, own.Attempt, 10, func(h catalog.Holdings) (map[catalog.EntryID]catalog.EvictCause, error) {
						_, err := lru.Plan(now, lru.Need{Bytes: 10, Count: 1}, inventory(b.Context(), h, backends.Capacity{}), bounds)
						return nil, err
					})
					if err != nil && name != "NoRoom" {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
