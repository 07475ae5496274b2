//go:build ceph

package rbd

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// bigImage makes a committed image-volume that is full of data, and a clone of it.
func bigClone(t *testing.T, b *tested, size int64) backends.Volume {
	t.Helper()
	st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: size})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 4<<20)
	for off := int64(0); off < size; off += int64(len(data)) {
		fillWith(data, off)
		if _, err := st.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := st.Commit(t.Context(), backends.Description{EntryID: "entry", Content: backends.Content{Digest: "sha256:aa"}}); err != nil {
		t.Fatal(err)
	}
	spec := specOf("v", "t")
	spec.SizeBytes = size
	v, err := b.Clone(t.Context(), "e-1", spec)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func fillWith(p []byte, off int64) {
	for i := range p {
		p[i] = byte(off>>20) ^ byte(i>>9) | 1
	}
}

// wantBig complains if the volume does not hold what bigClone wrote, from byte from on.
func wantBig(t *testing.T, b *tested, size, from int64) {
	t.Helper()
	r, err := b.OpenVolume(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, want := make([]byte, 4<<20), make([]byte, 4<<20)
	for off := from; off < size; off += int64(len(got)) {
		fillWith(want, off)
		if _, err := r.ReadAt(got, off); err != nil || string(got) != string(want) {
			t.Fatalf("at %d it is not what was written (%v)", off, err)
		}
	}
}

func wantFlat(t *testing.T, b *tested) {
	t.Helper()
	if id, err := idOf(b.strangers(), "v"); err != nil || !isFlat(b.strangers(), id) {
		t.Errorf("it still has a parent (%v)", err)
	}
	if r, err := b.Retire(t.Context(), "e-1"); err != nil || !r.Gone {
		t.Errorf("retire: got %+v, %v, want it gone", r, err)
	}
	if v, err := b.StatVolume(t.Context(), "v"); err != nil || !v.Complete {
		t.Errorf("got %+v, %v, want it complete", v, err)
	}
}

func TestFlatten(t *testing.T) {
	b := openBackend(t, config(t))
	const size = 32 << 20
	before := bigClone(t, b, size)
	var done, total int64
	for range 2 {
		if err := b.Flatten(t.Context(), "v", func(d, n int64) {
			if d < done || d > n {
				t.Errorf("%d of %d bytes after %d", d, n, done)
			}
			done, total = d, n
		}); err != nil {
			t.Fatal(err)
		}
	}
	if done != size || total != size {
		t.Errorf("told %d of %d bytes at last, want %d", done, total, size)
	}
	wantFlat(t, b)
	wantBig(t, b, size, 0)
	before.DependsOn = ""
	if v, err := b.StatVolume(t.Context(), "v"); err != nil || v != before {
		t.Errorf("got %+v, %v, want %+v", v, err, before)
	}
}

func TestFlattenOfWhatIsNotOurs(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	cloneOf(t, b.strangersImages(), imageName("e-1"), snapshotName, b.strangers(), "theirs")
	for name, want := range map[backends.VolumeName]error{"theirs": backends.ErrNotOurs, "nothing": backends.ErrNotExist, "a/b": backends.ErrBadName} {
		if err := b.Flatten(t.Context(), name, nil); !errors.Is(err, want) {
			t.Errorf("%s: got error %v, want %v", name, err, want)
		}
	}
}

// A flatten that is cancelled leaves the volume whole, and can be repeated.
func TestFlattenIsCancelled(t *testing.T) {
	b := openBackend(t, config(t))
	if err := b.sessions.current.conn.SetConfigOption("rbd_concurrent_management_ops", "1"); err != nil {
		t.Fatal(err)
	}
	const size = 256 << 20
	bigClone(t, b, size)
	ctx, cancel := context.WithCancel(t.Context())
	var done int64
	var cancelled time.Time
	err := b.Flatten(ctx, "v", func(d, _ int64) {
		done, cancelled = d, time.Now()
		cancel()
	})
	t.Logf("cancelled after %d bytes, it ended %v later", done, time.Since(cancelled))
	if !errors.Is(err, context.Canceled) || done == 0 || done >= size {
		t.Errorf("got error %v after %d bytes", err, done)
	}
	id, err := idOf(b.strangers(), "v")
	if err != nil || isFlat(b.strangers(), id) {
		t.Errorf("%s is flat (%v)", id, err)
	}
	if err := b.Flatten(t.Context(), "v", nil); err != nil {
		t.Error(err)
	}
	wantFlat(t, b)
	wantBig(t, b, size, 0)
}

// A guest goes on writing while its volume is flattened.
func TestFlattenOfAVolumeInUse(t *testing.T) {
	b := openBackend(t, config(t))
	const size = 64 << 20
	bigClone(t, b, size)
	guest, err := rbd.OpenImage(b.strangers(), "v", rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	flat := make(chan struct{})
	writing := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for n := byte(0); ; n++ {
			if _, err := guest.WriteAt([]byte{n, 'g'}, int64(n)*512); err != nil {
				t.Error(err)
			}
			if n == 0 {
				close(writing)
			}
			select {
			case <-flat:
				return
			default:
			}
			if n == 255 {
				n = 0
			}
		}
	})
	<-writing
	if err := b.Flatten(t.Context(), "v", nil); err != nil {
		t.Error(err)
	}
	close(flat)
	running.Wait()
	if err := guest.Close(); err != nil {
		t.Error(err)
	}
	wantFlat(t, b)
	wantBig(t, b, size, 4<<20)
}

// Flattens that are under way take no place from other calls.
func TestClonesGoOnBesideFlattens(t *testing.T) {
	c := config(t)
	c.Calls = 1
	b := openBackend(t, c)
	bigClone(t, b, 64<<20)
	var running sync.WaitGroup
	under := make(chan struct{})
	var once sync.Once
	cloned := make(chan struct{})
	running.Go(func() {
		err := b.Flatten(t.Context(), "v", func(int64, int64) {
			once.Do(func() { close(under) })
			<-cloned // does not come to an end before
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-under
	spec := specOf("w", "t")
	spec.SizeBytes = 64 << 20
	if _, err := b.Clone(t.Context(), "e-1", spec); err != nil {
		t.Error(err)
	}
	close(cloned)
	running.Wait()
}
