//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
)

const adoptee = "volume-5e0bfb5c-43b1-4f7e-8a0a-9f7f8f5d2a11"

// cinderFeatures are those of the images that Cinder makes.
const cinderFeatures = rbd.FeatureLayering | rbd.FeatureExclusiveLock | rbd.FeatureObjectMap | rbd.FeatureFastDiff | rbd.FeatureDeepFlatten

var _ backendtest.OwnersService = (*tested)(nil)

// MakeOwned implements backendtest.OwnersService as Cinder does.
func (b *tested) MakeOwned(_ context.Context, name backends.VolumeName, size int64) error {
	return withOptions(cinderFeatures, func(o *rbd.ImageOptions) error {
		return rbd.CreateImage(b.strangersImages(), string(name), uint64(size), o)
	})
}

// DeleteOwned implements backendtest.OwnersService. Cinder would move to the trash what this fails on.
func (b *tested) DeleteOwned(_ context.Context, name backends.VolumeName) error {
	return rbd.RemoveImage(b.strangersImages(), string(name))
}

// WriteOwned implements backendtest.OwnersService.
func (b *tested) WriteOwned(_ context.Context, name backends.VolumeName, data []byte) error {
	image, err := rbd.OpenImage(b.strangersImages(), string(name), rbd.NoSnapshot)
	if err != nil {
		return err
	}
	_, err = image.WriteAt(data, 0)
	return errors.Join(err, image.Close())
}

// OpenOwned implements backendtest.OwnersService.
func (b *tested) OpenOwned(_ context.Context, name backends.VolumeName) (backendtest.VolumeReader, error) {
	return rbd.OpenImageReadOnly(b.strangersImages(), string(name), rbd.NoSnapshot)
}

// makeCinders makes an empty image as Cinder does.
func makeCinders(t testing.TB, b *tested) (rbdID string) {
	t.Helper()
	err := b.MakeOwned(t.Context(), adoptee, 1<<30)
	if err == nil {
		rbdID, err = idOf(b.strangersImages(), adoptee)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rbdID
}

// deleteAsCinder removes the image as Cinder does: one with snapshots goes to the trash.
func deleteAsCinder(t *testing.T, b *tested) {
	t.Helper()
	err := b.DeleteOwned(t.Context(), adoptee)
	if is(err, syscall.ENOTEMPTY) {
		err = rbd.GetImage(b.strangersImages(), adoptee).Trash(0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func adoptImage(t testing.TB, b *tested, id backends.ImageVolumeID) {
	t.Helper()
	commitSpec(t, b, adoption(id))
}

func adoption(id backends.ImageVolumeID) backends.StageSpec {
	return backends.StageSpec{ID: id, VirtualBytes: 8 << 20, Adopt: adoptee}
}

// wantCinders complains unless the image is there, with nothing of ours.
func wantCinders(t *testing.T, b *tested, rbdID string) {
	t.Helper()
	io := b.strangersImages()
	if now, err := idOf(io, adoptee); err != nil || now != rbdID {
		t.Errorf("image is %q, %v, want %q", now, err, rbdID)
	}
	image, err := rbd.OpenImageReadOnly(io, adoptee, rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	snapshots, err := image.GetSnapshotNames()
	if err != nil || len(snapshots) > 0 {
		t.Errorf("it has snapshots %+v, %v", snapshots, err)
	}
	meta, err := image.ListMetadata()
	if err != nil || len(meta) > 0 {
		t.Errorf("it has metadata %v, %v", meta, err)
	}
	wantNoImageVolumes(t, b)
}

func wantNoImageVolumes(t *testing.T, b *tested) {
	t.Helper()
	for v, err := range b.ListImageVolumes(t.Context()) {
		t.Errorf("image-volume %+v, %v is still listed", v, err)
	}
	if all, err := rbd.GetTrashList(b.strangersImages()); err != nil || len(all) > 0 {
		t.Errorf("in the trash: %+v, %v", all, err)
	}
}

// retireSoon retires until nothing is left, or the clones alone hinder it: a client that died counts as one
// that has the image open until the OSDs have missed it.
func retireSoon(t *testing.T, b *tested, id backends.ImageVolumeID) {
	t.Helper()
	for began := time.Now(); ; {
		r, err := b.Retire(t.Context(), id)
		if err == nil && (r.Gone || r.Clones > 0) {
			return
		}
		if err != nil && !errors.Is(err, backends.ErrInUse) && !errors.Is(err, backends.ErrUnavailable) || time.Since(began) > 3*time.Minute {
			t.Fatalf("retire: got %+v, %v", r, err)
		}
	}
}

// After each step of Stage, Commit and Retire the process may die: the image-volume is listed, and Retire
// gives the image back.
func TestAnAdoptionThatDied(t *testing.T) {
	c := config(t)
	for _, r := range []struct {
		after string
		die   func(t *testing.T, died *tested)
		state backends.ImageVolumeState
	}{
		{"the index", func(t *testing.T, died *tested) { indexAdoption(t, died) }, backends.Staged},
		{"the record", func(t *testing.T, died *tested) {
			e := indexAdoption(t, died)
			err := writeRecord(died.ownImages(), e.RBDID, imageVolumeKey, imageRecord{RBDID: e.RBDID, ID: "e-1", Adopted: adoptee})
			if err != nil {
				t.Fatal(err)
			}
		}, backends.Staged},
		{"the size", func(t *testing.T, died *tested) {
			st, err := died.Stage(t.Context(), adoption("e-1"))
			if err != nil {
				t.Fatal(err)
			}
			st.(*imageStage).close()
		}, backends.Staged},
		{"some writes", func(t *testing.T, died *tested) {
			st, err := died.Stage(t.Context(), adoption("e-1"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.WriteAt(make([]byte, 1<<20), 0); err != nil {
				t.Fatal(err)
			}
			st.(*imageStage).close()
		}, backends.Staged},
		{"the commit", func(t *testing.T, died *tested) { adoptImage(t, died, "e-1") }, backends.Committed},
		{"it was marked as retired", func(t *testing.T, died *tested) {
			adoptImage(t, died, "e-1")
			l, err := died.find(died.sessions.current, "e-1")
			l.record.Retired = true
			if err := errors.Join(err, writeRecord(died.ownImages(), l.RBDID, imageVolumeKey, l.record)); err != nil {
				t.Fatal(err)
			}
		}, backends.Detached},
		{"the snapshot was removed", func(t *testing.T, died *tested) {
			adoptImage(t, died, "e-1")
			l, err := died.find(died.sessions.current, "e-1")
			l.record.Retired = true
			if err := errors.Join(err, writeRecord(died.ownImages(), l.RBDID, imageVolumeKey, l.record)); err != nil {
				t.Fatal(err)
			}
			unsnap(t, died, adoptee)
		}, backends.Detached},
		{"the record was removed", func(t *testing.T, died *tested) {
			adoptImage(t, died, "e-1")
			unsnap(t, died, adoptee)
			l, err := died.find(died.sessions.current, "e-1")
			if err := errors.Join(err, dropRecord(died.ownImages(), l.RBDID, imageVolumeKey)); err != nil {
				t.Fatal(err)
			}
		}, backends.Staged},
	} {
		t.Run(r.after, func(t *testing.T) {
			c.Namespace = namespace(t)
			died, b := openBackend(t, c), openBackend(t, c)
			rbdID := makeCinders(t, b)
			r.die(t, died)
			for v, err := range b.ListImageVolumes(t.Context()) {
				if err != nil || v.ID != "e-1" || v.State != r.state {
					t.Errorf("got %+v, %v, want e-1, %v", v, err, r.state)
				}
			}
			wantStrays(t, b)
			if r.state == backends.Detached {
				if reaped, err := b.Reap(t.Context()); err != nil || len(reaped.ImageVolumes) != 1 {
					t.Errorf("reap: got %+v, %v", reaped, err)
				}
			} else {
				retireSoon(t, b, "e-1")
			}
			wantCinders(t, b, rbdID)
			deleteAsCinder(t, b)
			wantNoImageVolumes(t, b)
		})
	}
}

// TestKilledInFillsOfAdoptedVolumes: after a kill -9 the image-volume is staged or was never begun, and its
// image is given back at once, although the cluster has not missed the client that died yet: Cinder, which removes it then,
// would find that client's watch, and move it to the trash.
func TestKilledInFillsOfAdoptedVolumes(t *testing.T) {
	c := config(t)
	b := openBackend(t, c)
	for round := range 4 {
		rbdID := makeCinders(t, b)
		k := killed{Conf: c.Conf, Keyring: c.Keyring, Namespace: c.Namespace, Image: "e-1", Bytes: 64 << 20, Adopt: adoptee}
		killACloner(t, k, time.Duration(10+70*round)*time.Millisecond)
		for v, err := range b.ListImageVolumes(t.Context()) {
			if err != nil || v.ID != "e-1" || v.State != backends.Staged {
				t.Errorf("round %d: got %+v, %v, want e-1, staged", round, v, err)
			}
			if r, err := b.Retire(t.Context(), "e-1"); err != nil || !r.Gone {
				t.Errorf("round %d: retire: got %+v, %v, want it gone", round, r, err)
			}
		}
		wantCinders(t, b, rbdID)
		deleteAsCinder(t, b)
		wantNoImageVolumes(t, b)
	}
}

// indexAdoption is Stage's first step alone.
func indexAdoption(t *testing.T, b *tested) indexed {
	t.Helper()
	id, err := idOf(b.ownImages(), adoptee)
	e := indexed{RBDID: id, At: b.config.Now().UTC(), Adopted: adoptee}
	if err := errors.Join(err, writeIndex(b.ownImages(), imageKeys+"e-1", e)); err != nil {
		t.Fatal(err)
	}
	return e
}

// What Cinder does to an adopted volume behind our back, with a clone of it and without: nothing is left
// over, and the image is removed by nobody but Cinder, or from the trash where Cinder put it.
func TestAnAdoptedVolumeTouchedByCinder(t *testing.T) {
	for _, r := range []struct {
		name  string
		touch func(t *testing.T, b *tested)
		left  bool // the image is still there at the end
	}{
		{"deleted, and so in the trash", deleteAsCinder, false},
		{"deleted after its snapshot was", func(t *testing.T, b *tested) { unsnap(t, b, adoptee); deleteAsCinder(t, b) }, false},
		{"renamed", func(t *testing.T, b *tested) {
			if err := rbd.GetImage(b.strangersImages(), adoptee).Rename("volume-renamed"); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"robbed of its metadata", func(t *testing.T, b *tested) {
			image, err := rbd.OpenImage(b.strangersImages(), adoptee, rbd.NoSnapshot)
			if err == nil {
				err = errors.Join(image.RemoveMetadata(imageVolumeKey), image.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		for _, clones := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, %d clones", r.name, clones), func(t *testing.T) {
				b := openBackend(t, config(t))
				makeCinders(t, b)
				adoptImage(t, b, "e-1")
				for i := range clones {
					if _, err := b.Clone(t.Context(), "e-1", specOf(fmt.Sprint("v-", i), "t")); err != nil {
						t.Fatal(err)
					}
				}
				r.touch(t, b)
				_, err := b.Retire(t.Context(), "e-1")
				if err != nil && !errors.Is(err, backends.ErrNotExist) {
					t.Error(err)
				}
				for i := range clones {
					name := backends.VolumeName(fmt.Sprint("v-", i))
					if v, err := b.StatVolume(t.Context(), name); err != nil || !v.Complete {
						t.Errorf("clone: got %+v, %v", v, err)
					}
					if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: name}); err != nil {
						t.Error(err)
					}
				}
				if _, err := b.Reap(t.Context()); err != nil {
					t.Error(err)
				}
				wantNoImageVolumes(t, b)
				wantStrays(t, b)
				names, err := rbd.GetImageNames(b.strangersImages())
				if err != nil || (len(names) > 0) != r.left {
					t.Errorf("images: %q, %v, want some: %t", names, err, r.left)
				}
			})
		}
	}
}

// Reap alone notices that Cinder deleted an adopted volume, and purges the trash after the last clone.
func TestReapNoticesThatCinderDeleted(t *testing.T) {
	b := openBackend(t, config(t))
	makeCinders(t, b)
	adoptImage(t, b, "e-1")
	if _, err := b.Clone(t.Context(), "e-1", specOf("v", "t")); err != nil {
		t.Fatal(err)
	}
	deleteAsCinder(t, b)
	if r, err := b.Reap(t.Context()); err != nil || len(r.ImageVolumes) > 0 {
		t.Errorf("with a clone: got %+v, %v", r, err)
	}
	if _, err := b.Clone(t.Context(), "e-1", specOf("w", "t")); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("clone: got error %v, want %v", err, backends.ErrNotExist)
	}
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Reap(t.Context()); err != nil || len(r.ImageVolumes) != 1 {
		t.Errorf("after the last clone: got %+v, %v, want e-1", r, err)
	}
	wantNoImageVolumes(t, b)
}

// One that cannot be given back yet, since somebody has it open, is detached and reaped later.
func TestAnAdoptedVolumeThatSomebodyReads(t *testing.T) {
	b := openBackend(t, config(t))
	rbdID := makeCinders(t, b)
	adoptImage(t, b, "e-1")
	r, err := b.OpenImageVolume(t.Context(), "e-1")
	if err != nil {
		t.Fatal(err)
	}
	if retired, err := b.Retire(t.Context(), "e-1"); err != nil || retired.Gone {
		t.Errorf("retire: got %+v, %v, want it detached", retired, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if reaped, err := b.Reap(t.Context()); err != nil || len(reaped.ImageVolumes) != 1 {
		t.Errorf("reap: got %+v, %v", reaped, err)
	}
	wantCinders(t, b, rbdID)
}

func TestAVolumeThatCannotBeAdopted(t *testing.T) {
	for _, r := range []struct {
		name  string
		touch func(t *testing.T, b *tested)
		want  error
	}{
		{"with a snapshot", func(t *testing.T, b *tested) { snapshot(t, b.strangersImages(), adoptee, "s") }, backends.ErrNotOurs},
		{"that is a clone", func(t *testing.T, b *tested) {
			commitImage(t, b, "e-0", 8<<20)
			deleteAsCinder(t, b)
			cloneOf(t, b.strangersImages(), imageName("e-0"), snapshotName, b.strangersImages(), adoptee)
		}, backends.ErrNotOurs},
		{"that is attached", func(t *testing.T, b *tested) {
			image, err := rbd.OpenImage(b.strangersImages(), adoptee, rbd.NoSnapshot)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = image.Close() })
		}, backends.ErrInUse},
	} {
		t.Run(r.name, func(t *testing.T) {
			b := openBackend(t, config(t))
			makeCinders(t, b)
			r.touch(t, b)
			if _, err := b.Stage(t.Context(), adoption("e-1")); !errors.Is(err, r.want) {
				t.Errorf("got error %v, want %v", err, r.want)
			}
			commitImage(t, b, "e-1", 8<<20) // the ID is free
		})
	}
}
