//go:build ceph

package rbd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// Whatever the order and the size of writes, and however many are made at once, what was written last is
// what a volume reads.
func TestWritesAreGathered(t *testing.T) {
	c := config(t)
	b := openBackend(t, c)
	const size, writers, each = 61<<20 + 512, 4, 60
	st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: size})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, size)
	var running sync.WaitGroup
	for w := range writers { // each has parts of all objects for itself
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 0))
			for range each {
				const share = piece / writers
				at := random.Int64N((size+piece-1)/piece)*piece + int64(w)*share + random.Int64N(share)
				n := min(random.Int64N(share)+1, share-(at%piece-int64(w)*share), size-at)
				if n <= 0 {
					continue
				}
				fillRandomly(random, want[at:at+n])
				if _, err := st.WriteAt(want[at:at+n], at); err != nil {
					t.Errorf("write %d bytes at %d: %v", n, at, err)
				}
			}
		})
	}
	running.Wait()
	if _, err := st.Commit(t.Context(), backends.Description{EntryID: "entry"}); err != nil {
		t.Fatal(err)
	}
	spec := specOf("v", "t")
	spec.SizeBytes = size
	if _, err := b.Clone(t.Context(), "e-1", spec); err != nil {
		t.Fatal(err)
	}
	v, err := b.OpenVolume(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	got := make([]byte, size)
	if _, err := v.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for got[at] == want[at] {
			at++
		}
		t.Errorf("the volume differs from what was written at byte %d", at)
	}
}

func fillRandomly(random *rand.Rand, p []byte) {
	for i := range p {
		p[i] = byte(random.Uint64())
	}
}

// The snapshot of an image-volume is one that others may use as any other.
func TestSnapshotIsAnOrdinaryOne(t *testing.T) {
	b := openBackend(t, config(t))
	const size = 8 << 20
	commitImage(t, b, "e-1", size)
	pool := b.strangersImages()
	image, err := rbd.OpenImage(pool, imageName("e-1"), rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	before, err := image.GetSnapshotNames()
	if err != nil || len(before) != 1 || before[0].Name != snapshotName || before[0].Size != size {
		t.Fatalf("snapshots: got %+v, %v, want %s of %d bytes", before, err, snapshotName, size)
	}
	if kind, err := image.GetSnapNamespaceType(before[0].Id); err != nil || kind != rbd.SnapNamespaceTypeUser {
		t.Errorf("namespace of the snapshot: got %v, %v, want a user's", kind, err)
	}
	if _, err := image.WriteAt([]byte("later"), 0); err != nil {
		t.Fatal(err)
	}
	snapshot(t, pool, imageName("e-1"), "another")
	then, err := rbd.OpenImageReadOnly(pool, imageName("e-1"), snapshotName)
	if err != nil {
		t.Fatal(err)
	}
	defer then.Close()
	got := make([]byte, 5)
	if _, err := then.ReadAt(got, 0); err != nil || string(got) == "later" {
		t.Errorf("at the snapshot: got %q, %v, want what was there then", got, err)
	}
	if err := image.GetSnapshot("another").Remove(); err != nil {
		t.Errorf("remove the other snapshot: %v", err)
	}
}

// Where images keep their data in a pool of its own, the snapshots' IDs are that pool's.
func TestDataPoolOfItsOwn(t *testing.T) {
	c := config(t)
	conf, err := os.ReadFile(c.Conf)
	if err != nil {
		t.Fatal(err)
	}
	c.Conf = filepath.Join(t.TempDir(), "ceph.conf") // its last section is that of clients
	if err := os.WriteFile(c.Conf, append(conf, "\nrbd_default_data_pool = volumes\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	b := openBackend(t, c)
	commitImage(t, b, "e-1", 8<<20)
	image, err := rbd.OpenImageReadOnly(b.strangersImages(), imageName("e-1"), rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	features, err := image.GetFeatures()
	if err := errors.Join(err, image.Close()); err != nil || features&rbd.FeatureDataPool == 0 {
		t.Fatalf("features: got %b, %v, want a data pool", features, err)
	}
	if _, err := b.Clone(t.Context(), "e-1", specOf("v", "t")); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Retire(t.Context(), "e-1"); err != nil || r.Gone || r.Clones != 1 {
		t.Errorf("retire: got %+v, %v, want one clone", r, err)
	}
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v"}); err != nil {
		t.Error(err)
	}
	if _, err := b.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	wantNoImageVolumes(t, b)
}

func TestSpans(t *testing.T) {
	for _, c := range []struct {
		name string
		adds []span
		want spans
	}{
		{"apart", []span{{4, 6}, {0, 2}, {8, 9}}, spans{{0, 2}, {4, 6}, {8, 9}}},
		{"touching", []span{{2, 4}, {0, 2}, {4, 5}}, spans{{0, 5}}},
		{"over several", []span{{0, 1}, {2, 3}, {4, 5}, {1, 9}}, spans{{0, 9}}},
		{"within", []span{{0, 9}, {3, 4}}, spans{{0, 9}}},
		{"between", []span{{0, 1}, {6, 7}, {3, 4}}, spans{{0, 1}, {3, 4}, {6, 7}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got spans
			for _, a := range c.adds {
				got.add(a.from, a.to)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
