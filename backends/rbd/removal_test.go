//go:build ceph

package rbd

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
)

// beginRemoval does what a removal does before it dies: the index says so, and where trashed is true the image
// is in the trash.
func (b *tested) beginRemoval(t *testing.T, v backends.Volume, half, trashed bool) {
	t.Helper()
	r := b.newRemoval(v.Name, half)
	err := writeIndex(b.ownImages(), removalKeys+string(v.ID), r)
	if err == nil && trashed {
		err = trash(b.own(), string(v.Name), string(v.ID), time.Duration(r.Deferment)*time.Second)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (b *tested) cloned(t *testing.T, name string) (backends.Volume, backends.VolumeSpec) {
	t.Helper()
	spec := specOf(name, "t")
	v, err := b.Clone(t.Context(), "e-1", spec)
	if err != nil {
		t.Fatal(err)
	}
	return v, spec
}

func wantNoRemovals(t *testing.T, b *tested) {
	t.Helper()
	if all, err := readIndex[removal](b.ownImages(), removalKeys); err != nil || len(all) > 0 {
		t.Errorf("removals in the index: %v, %v", all, err)
	}
}

// A removal that a process began is ended by Settle or Reap, whichever comes first: what is in the trash goes,
// what is still under its name is as it was.
func TestARemovalThatBeganIsEnded(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	for _, end := range []string{"settle", "reap"} {
		for _, trashed := range []bool{true, false} {
			v, spec := b.cloned(t, fmt.Sprintf("v-%s-%v", end, trashed))
			b.beginRemoval(t, v, false, trashed)
			want := backends.Whole
			if trashed {
				want = backends.Removed
			}
			if end == "reap" {
				if _, err := b.Reap(t.Context()); err != nil {
					t.Error(err)
				}
			} else if got, err := b.Settle(t.Context(), spec); err != nil || got != want {
				t.Errorf("trashed %v: got %v, %v, want %v", trashed, got, err, want)
			}
			wantNoRemovals(t, b)
			if trashed {
				wantNothing(t, b, string(v.Name))
				continue
			}
			if got, err := b.StatVolume(t.Context(), v.Name); err != nil || got != v {
				t.Errorf("not removed: got %+v, %v, want %+v", got, err, v)
			}
			if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: v.Name}); err != nil {
				t.Error(err)
			}
		}
	}
}

// What was never whole goes also where its removal had only been noted.
func TestARemovalOfWhatIsHalfMadeIsEnded(t *testing.T) {
	b := openBackend(t, config(t))
	for _, trashed := range []bool{true, false} {
		d, err := b.CreateVolume(t.Context(), specOf("v", "t"))
		if err != nil {
			t.Fatal(err)
		}
		d.(*draft).close()
		b.beginRemoval(t, backends.Volume{Name: "v", ID: backends.VolumeID(d.(*draft).rbdID)}, true, trashed)
		if _, err := b.Reap(t.Context()); err != nil {
			t.Error(err)
		}
		wantNoRemovals(t, b)
		wantNothing(t, b, "v")
	}
}

// A volume that somebody has open, or has made a snapshot of, by the time that its removal is ended gets its name
// back, and stays when it is no longer in use.
func TestARemovalThatBeganGivesWayToWhoHasTheVolume(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	for _, how := range []backendtest.Usage{backendtest.Opens, backendtest.Snapshots} {
		v, _ := b.cloned(t, "v-"+string(how))
		end, err := b.UseVolume(t.Context(), v.Name, how)
		if err != nil {
			t.Fatal(err)
		}
		b.beginRemoval(t, v, false, true)
		for range 2 {
			if _, err := b.Reap(t.Context()); err != nil {
				t.Error(err)
			}
		}
		wantNoRemovals(t, b)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Reap(t.Context()); err != nil {
			t.Error(err)
		}
		if got, err := b.StatVolume(t.Context(), v.Name); err != nil || got != v {
			t.Errorf("%s: got %+v, %v, want %+v", how, got, err, v)
		}
	}
}

// What the volume's owner puts into the trash later stays there, though a removal of it was noted and never
// forgotten.
func TestARemovalThatFailedLeavesTheOwnersTrashAlone(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	v, spec := b.cloned(t, "v")
	b.beginRemoval(t, v, false, false)
	if err := rbd.GetImage(b.strangers(), "v").Trash(0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := b.Settle(t.Context(), spec); err != nil || got != backends.Absent {
		t.Errorf("settle: got %v, %v", got, err)
	}
	if there, err := inTrash(b.strangers(), string(v.ID)); err != nil || !there {
		t.Errorf("it is no longer in the trash (%v)", err)
	}
	wantNoRemovals(t, b)
}

// A process that moves an image to the trash dies before its last step: the image is removed from there all the same.
func TestWhoseMoverDiedIsRemovedFromTheTrash(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "iv", 8<<20)
	images := b.strangersImages()
	rbdID, err := idOf(images, imageName("iv"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.try(t.Context(), func(w *work) error {
		l, err := b.find(w.session, "iv")
		if err == nil {
			_, err = unpublish(w, l)
		}
		return errors.Join(err, trash(w.images, imageName("iv"), rbdID, 0))
	}); err != nil {
		t.Fatal(err)
	}
	if err := setTrashState(images, rbdID, trashMoving, trashNormal); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Retire(t.Context(), "iv"); err != nil || !r.Gone {
		t.Errorf("retired: %+v, %v, want it gone", r, err)
	}
	if there, err := inTrash(images, rbdID); err != nil || there {
		t.Errorf("in the trash: %t, %v", there, err)
	}
}

// The removal that another host has under way is its own, until it is certain that the host is gone.
func TestRemovalsOfOtherHosts(t *testing.T) {
	c := config(t)
	elsewhere := c
	elsewhere.Holder = "another-host"
	b, other := openBackend(t, c), openBackend(t, elsewhere)
	commitImage(t, b, "e-1", 8<<20)
	v, _ := b.cloned(t, "v")
	b.beginRemoval(t, v, false, true)
	if _, err := other.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	if there, err := inTrash(b.strangers(), string(v.ID)); err != nil || !there {
		t.Errorf("it is no longer in the trash (%v)", err)
	}
	other.config.Now = func() time.Time { return time.Now().Add(2 * abandoned) }
	if _, err := other.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	wantNothing(t, b, "v")
	wantNoRemovals(t, b)
}

// A pool whose owner wants removed images in the trash gets volumes there that somebody deletes; what nobody was
// told of is gone at once.
func TestDeletedVolumesGoWhereTheClusterWantsThem(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	setPoolOption(t, b.strangers(), moveToTrash, "true")
	setPoolOption(t, b.strangers(), trashExpires, "7200")
	v, _ := b.cloned(t, "back")
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: v.Name, ID: v.ID}); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, b, "back")
	v, _ = b.cloned(t, "v")
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	kept, there, err := trashedAs(b.strangers(), string(v.ID))
	if err != nil || !there || kept.DefermentEndTime.Sub(kept.DeletionTime) != 2*time.Hour {
		t.Fatalf("in the trash: %+v, %v, %v, want it there for two hours", kept, there, err)
	}
	wantNoRemovals(t, b)
	if _, err := b.StatVolume(t.Context(), "v"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
	if err := rbd.TrashRestore(b.strangers(), kept.Id, "v"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.StatVolume(t.Context(), "v"); err != nil || got != v {
		t.Errorf("restored: got %+v, %v, want %+v", got, err, v)
	}
}

func setPoolOption(t *testing.T, io *rados.IOContext, name, value string) {
	t.Helper()
	if err := rbd.SetPoolMetadata(io, "conf_"+name, value); err != nil {
		t.Fatal(err)
	}
}

func TestWhoMadeAnImage(t *testing.T) {
	ours := func(numbers ...string) func(string) bool {
		return func(client string) bool {
			for _, n := range numbers {
				if n == client {
					return true
				}
			}
			return false
		}
	}
	const newest = 0x24d2b
	for _, r := range []struct {
		name, id string
		newest   uint64
		ours     func(string) bool
		want     maker
	}{
		{"ours, and no other client can be", "14d2a1234567", 0x24d2, ours("14d2"), own},
		{"ours, or that of a client whose number is longer", "14d2a1234567", newest, ours("14d2"), perhaps},
		{"of a client whose number is longer, and that is ours too", "14d2a1234567", newest, ours("14d2", "14d2a"), own},
		{"a client's whose number is longer, and ours is too short for it", "14d2a12345678", newest, ours("14d2"), another},
		{"the random part has no zero in front", "14d201234567", 0x24d2, ours("14d2"), another},
		{"but our number may end in one", "14d201234567", newest, ours("14d20"), own},
		{"there are no clients with so low a number", "14d2a123", 0x24d2, ours("14d"), another},
		{"cut at its beginning", "a2b3c412345678", 0xa2b3c4, ours("a2b3c4"), own},
		{"cut at its beginning, or not", "a2b3c412345678", 0x1a2b3c4, ours("1a2b3c4"), perhaps},
		{"cut at its beginning, and not ours", "a2b3c412345678", 0x1a2b3c4, ours("1a2b3c5"), another},
		{"none of librbd's", "not-hexadecimal", newest, ours("14d2"), another},
	} {
		if got := makerOf(r.id, r.newest, r.ours); got != r.want {
			t.Errorf("%s: %s: got %d, want %d", r.name, r.id, got, r.want)
		}
	}
}
