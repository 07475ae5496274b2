//go:build ceph

package rbd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// What others do to an image-volume behind our back.
func TestAnImageVolumeTouchedByOthers(t *testing.T) {
	for _, r := range []struct {
		name  string
		touch func(t *testing.T, b *tested, image string)
		clone error                     // what Clone says
		state backends.ImageVolumeState // what the listing says; 0: nothing
		gone  bool                      // what Retire says
	}{
		{"deleted", func(t *testing.T, b *tested, image string) {
			unsnap(t, b, image)
			if err := rbd.RemoveImage(b.strangersImages(), image); err != nil {
				t.Fatal(err)
			}
		}, backends.ErrNotExist, 0, false},
		{"renamed", func(t *testing.T, b *tested, image string) {
			if err := rbd.GetImage(b.strangersImages(), image).Rename("renamed"); err != nil {
				t.Fatal(err)
			}
		}, nil, backends.Committed, true},
		{"put into the trash", func(t *testing.T, b *tested, image string) {
			if err := rbd.GetImage(b.strangersImages(), image).Trash(0); err != nil {
				t.Fatal(err)
			}
		}, backends.ErrNotExist, backends.Detached, true},
		{"robbed of its snapshot", unsnap, backends.ErrNotExist, backends.Staged, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			b := openBackend(t, config(t))
			commitImage(t, b, "e-1", 8<<20)
			r.touch(t, b, imageName("e-1"))
			_, err := b.Clone(t.Context(), "e-1", specOf("first", "t1"))
			if err != nil { // what is known by heart is forgotten then
				_, err = b.Clone(t.Context(), "e-1", specOf("second", "t2"))
			}
			if !errors.Is(err, r.clone) {
				t.Errorf("clone: got error %v, want %v", err, r.clone)
			}
			var state backends.ImageVolumeState
			for v, err := range b.ListImageVolumes(t.Context()) {
				if err != nil {
					t.Error(err)
				}
				state = v.State
			}
			if state != r.state {
				t.Errorf("listed as %v, want %v", state, r.state)
			}
			for _, name := range imagesOf(t, b) {
				if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: backends.VolumeName(name)}); err != nil {
					t.Error(err)
				}
			}
			if got, err := b.Retire(t.Context(), "e-1"); got.Gone != r.gone || (err == nil) != r.gone {
				t.Errorf("retire: got %+v, %v, want gone %t", got, err, r.gone)
			}
			if all, err := rbd.GetTrashList(b.strangersImages()); err != nil || len(all) > 0 {
				t.Errorf("in the trash: %+v, %v", all, err)
			}
		})
	}
}

func unsnap(t *testing.T, b *tested, name string) {
	t.Helper()
	image, err := rbd.OpenImage(b.strangersImages(), name, rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(image.GetSnapshot(snapshotName).Remove(), image.Close()); err != nil {
		t.Fatal(err)
	}
}

// A Reap frees what others put into the trash, once its last clone is gone.
func TestReapFindsAnImageVolumePutIntoTheTrash(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	v, err := b.Clone(t.Context(), "e-1", specOf("v", "t"))
	if err != nil {
		t.Fatal(err)
	}
	if err := rbd.GetImage(b.strangersImages(), imageName("e-1")).Trash(0); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Reap(t.Context()); err != nil || len(r.ImageVolumes) > 0 {
		t.Errorf("with a clone: got %+v, %v", r, err)
	}
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: v.Name, ID: v.ID}); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Reap(t.Context()); err != nil || len(r.ImageVolumes) != 1 || r.FreedBytes != 1<<20 {
		t.Errorf("got %+v, %v, want e-1 and 1 MiB", r, err)
	}
}

// A record that clones and copies of a volume got with the metadata makes them none of ours.
func TestACopiedRecordIsNotOurs(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	if _, err := b.Clone(t.Context(), "e-1", specOf("v", "t")); err != nil {
		t.Fatal(err)
	}
	io := b.strangers()
	snapshot(t, io, "v", "s")
	cloneOf(t, io, "v", "s", io, "clone")
	image, err := rbd.OpenImageReadOnly(io, "v", rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(image.Copy(io, "copy"), image.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []backends.VolumeName{"clone", "copy"} {
		if _, err := b.StatVolume(t.Context(), name); !errors.Is(err, backends.ErrNotOurs) {
			t.Errorf("%s: got error %v, want %v", name, err, backends.ErrNotOurs)
		}
	}
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v"}); !errors.Is(err, backends.ErrInUse) {
		t.Errorf("delete a volume with a snapshot: got error %v, want %v", err, backends.ErrInUse)
	}
	if v, err := b.StatVolume(t.Context(), "v"); err != nil || !v.Complete {
		t.Errorf("after that: %+v, %v", v, err)
	}
}

func TestAVolumeInUseIsNotDeleted(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	if _, err := b.Clone(t.Context(), "e-1", specOf("v", "t")); err != nil {
		t.Fatal(err)
	}
	guest, err := rbd.OpenImage(b.strangers(), "v", rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v"}); !errors.Is(err, backends.ErrInUse) {
		t.Errorf("got error %v, want %v", err, backends.ErrInUse)
	}
	if _, err := guest.WriteAt([]byte("still here"), 0); err != nil {
		t.Error(err)
	}
	if err := guest.Close(); err != nil {
		t.Error(err)
	}
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v"}); err != nil {
		t.Error(err)
	}
}

// The cluster stops answering in the middle of clones: they end in time, and what they leave is settled
// when the cluster is back.
func TestAClusterThatStopsAnswering(t *testing.T) {
	const timeout = 3 * time.Second
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	usual := b.config.Timeout
	b.config.Timeout = timeout // while it does not answer; a busy machine may take longer for an answer
	if err := clusterScript("osd-pause"); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceValue(func() error { return clusterScript("osd-resume") })
	defer resume()
	const clones = 4
	var running sync.WaitGroup
	for i := range clones {
		running.Go(func() {
			began := time.Now()
			_, err := b.Clone(t.Context(), "e-1", specOf(fmt.Sprint("v-", i), fmt.Sprint("t-", i)))
			if took := time.Since(began); !errors.Is(err, backends.ErrUnavailable) || took > 10*timeout {
				t.Errorf("clone: got error %v after %v, want %v after %v", err, took, backends.ErrUnavailable, timeout)
			}
		})
	}
	running.Wait()
	b.config.Timeout = usual
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	for i := range clones {
		spec := specOf(fmt.Sprint("v-", i), fmt.Sprint("t-", i))
		if got := settleSoon(t, b, spec); got == backends.Whole {
			if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: spec.Name}); err != nil {
				t.Error(err)
			}
		}
	}
	if rest := imagesOf(t, b); len(rest) > 0 {
		t.Errorf("images are left: %q", rest)
	}
}

// A client that the cluster has cut off connects anew.
func TestABlocklistedClientConnectsAnew(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	addrs, err := b.sessions.current.conn.GetAddrs()
	if err != nil {
		t.Fatal(err)
	}
	if err := clusterScript("ceph osd blocklist add " + addrs); err != nil {
		t.Fatal(err)
	}
	var last error
	for began := time.Now(); time.Since(began) < 3*time.Minute; {
		if _, last = b.Clone(t.Context(), "e-1", specOf("v", "t")); last == nil || !errors.Is(last, backends.ErrUnavailable) {
			break
		}
		if _, err := b.Settle(t.Context(), specOf("v", "t")); err != nil && !errors.Is(err, backends.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if last != nil {
		t.Errorf("clone: %v", last)
	}
}

// Clones race the removal of their image-volume from another host: each is whole, or says that there is
// nothing to clone and leaves nothing. CLONECACHE_RACES says how many rounds.
func TestClonesRaceRemoval(t *testing.T) {
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("CLONECACHE_RACES")); err == nil {
		rounds = n
	}
	c := config(t)
	other := c
	other.Holder = "another-host"
	b, elsewhere := openBackend(t, c), openBackend(t, other)
	const clones = 6
	for round := range rounds {
		id := backends.ImageVolumeID(fmt.Sprintf("e-%d", round))
		commitImage(t, b, id, 8<<20)
		var running sync.WaitGroup
		errs := make([]error, clones)
		for i := range clones {
			running.Go(func() {
				_, errs[i] = b.Clone(t.Context(), id, specOf(fmt.Sprintf("v-%d", i), "t"))
			})
		}
		running.Go(func() {
			time.Sleep(time.Duration(round%12) * 5 * time.Millisecond) // another moment each round
			if _, err := elsewhere.Retire(t.Context(), id); err != nil {
				t.Errorf("round %d: retire: %v", round, err)
			}
		})
		running.Wait()
		for i, err := range errs {
			name := backends.VolumeName(fmt.Sprintf("v-%d", i))
			if err != nil {
				if !errors.Is(err, backends.ErrNotExist) {
					t.Errorf("round %d: clone: got error %v, want none or %v", round, err, backends.ErrNotExist)
				}
				continue
			}
			if v, err := b.StatVolume(t.Context(), name); err != nil || !v.Complete {
				t.Errorf("round %d: %s: got %+v, %v, want it complete", round, name, v, err)
			}
			if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: name}); err != nil {
				t.Errorf("round %d: delete: %v", round, err)
			}
		}
		if rest := imagesOf(t, b); len(rest) > 0 {
			t.Fatalf("round %d: images are left: %q", round, rest)
		}
		if _, err := elsewhere.Reap(t.Context()); err != nil {
			t.Errorf("round %d: reap: %v", round, err)
		}
		if all, err := rbd.GetTrashList(b.strangersImages()); err != nil || len(all) > 0 {
			t.Fatalf("round %d: in the trash: %+v, %v", round, all, err)
		}
	}
}
