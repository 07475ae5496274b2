package catalog

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// filled opens a catalog with n ready entries of one store, each with an alias.
func filled(b *testing.B, n int) *Catalog {
	b.Helper()
	c := open(b, anew(b), nil)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	err := c.write(b.Context(), "fill", func(t tx) error {
		for i := range n {
			id := EntryID(fmt.Sprintf("0199-%08d", i))
			e := Entry{
				ID: id, Store: "local", Key: Key(fmt.Sprintf("sha256:%064d/qcow2", i)), State: Ready, Attempt: 1,
				ImageVolume: backends.ImageVolumeID(id + "-1"), Form: backends.Decoded, Content: backends.Content{Digest: fmt.Sprintf("sha256:%064d", i), DiskFormat: "qcow2", VirtualBytes: 1 << 30},
				HeldBytes: 1 << 29, Claim: "claim",
				CreatedAt: at, FilledAt: at, LastUsedAt: at.Add(time.Duration(i) * time.Second),
			}
			if err := t.insert(b.Context(), e); err != nil {
				return err
			}
			if err := t.addImage(b.Context(), id, fmt.Sprint("library:image-", i), Key(fmt.Sprint("rev:", i)), at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func BenchmarkEntries(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		c := filled(b, n)
		key := func(i int) Key { return Key(fmt.Sprintf("sha256:%064d/qcow2", i%n)) }
		run := func(name string, f func(ctx context.Context, i int) error) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if err := f(b.Context(), i); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("FindByKey", func(ctx context.Context, i int) error {
			_, err := c.Find(ctx, "local", "", key(i))
			return err
		})
		run("FindByAlias", func(ctx context.Context, i int) error {
			_, err := c.Find(ctx, "local", "", Key(fmt.Sprint("rev:", i%n)))
			return err
		})
		run("BeginFillOfReady", func(ctx context.Context, i int) error {
			_, _, _, err := c.BeginFill(ctx, FillSpec{Store: "local", Key: key(i)})
			return err
		})
		run("ListPage", func(ctx context.Context, i int) error {
			_, err := c.List(ctx, Filter{Store: "local", After: ListPlace{ID: EntryID(fmt.Sprintf("0199-%08d", i%n))}, Limit: 100})
			return err
		})
		run("ListFilling", func(ctx context.Context, i int) error {
			_, err := c.List(ctx, Filter{States: []State{Filling}})
			return err
		})
		run("ListAll", func(ctx context.Context, i int) error {
			_, err := c.List(ctx, Filter{})
			return err
		})
		fill := mustFill(b, c, spec("new"))
		run("ReserveRoom", func(ctx context.Context, i int) error {
			_, err := c.ReserveRoom(ctx, fill.ID, 1, int64(i), func(Holdings) (map[EntryID]EvictCause, error) { return nil, nil })
			return err
		})
		run("Record100", func(ctx context.Context, i int) error {
			var requests []Request
			for r := range 100 {
				requests = append(requests, Request{
					At: time.Date(2026, 3, 1, 12, i%600, 0, 0, time.UTC), Backend: "local", ImageID: fmt.Sprint("library:image-", r%n),
					Entry: EntryID(fmt.Sprintf("0199-%08d", r*7%n)), Outcome: "hit", Reason: "ready", Clones: 1,
				})
			}
			return c.Record(ctx, "host", int64(i), requests)
		})
		run("Requests", func(ctx context.Context, i int) error {
			_, err := c.Requests(ctx, time.Time{})
			return err
		})
	}
}
