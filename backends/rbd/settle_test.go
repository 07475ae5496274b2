//go:build ceph

package rbd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// halfMade are the states in which a client that dies leaves an image, in the order of librbd's steps.
var halfMade = []struct {
	name string
	make func(t *testing.T, io *rados.IOContext, name string)
}{
	{"listed only", func(t *testing.T, io *rados.IOContext, name string) {
		id := createImage(t, io, name)
		remove(t, io, idObject+name, headerObject+id)
	}},
	{"listed and named", func(t *testing.T, io *rados.IOContext, name string) {
		remove(t, io, headerObject+createImage(t, io, name))
	}},
	{"blank", func(t *testing.T, io *rados.IOContext, name string) { createImage(t, io, name) }},
}

func createImage(t testing.TB, io *rados.IOContext, name string) (id string) {
	t.Helper()
	err := withOptions(rbd.FeatureLayering, func(o *rbd.ImageOptions) error { return rbd.CreateImage(io, name, 8<<20, o) })
	if err == nil {
		id, err = idOf(io, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func remove(t *testing.T, io *rados.IOContext, objects ...string) {
	t.Helper()
	for _, o := range objects {
		if err := io.Delete(o); err != nil {
			t.Fatalf("remove %s: %v", o, err)
		}
	}
}

func specOf(name, token string) backends.VolumeSpec {
	return backends.VolumeSpec{Name: backends.VolumeName(name), SizeBytes: 8 << 20, Token: token, Origin: backends.Origin{EntryID: "entry", ImageVolume: "e-1"}}
}

// own is the pool as a connection of ours creates images in it.
func (b *tested) own() *rados.IOContext { return b.sessions.current.volumes }

// ownImages is that of the image-volumes' pool.
func (b *tested) ownImages() *rados.IOContext { return b.sessions.current.images }

func TestSettleRemovesWhatOurProcessLeftHalfMade(t *testing.T) {
	c := config(t)
	died, b := openBackend(t, c), openBackend(t, c)
	for i, state := range halfMade {
		t.Run(state.name, func(t *testing.T) {
			name := fmt.Sprintf("v-%d", i)
			state.make(t, died.own(), name)
			for _, want := range []backends.Settled{backends.Removed, backends.Absent} {
				if got, err := b.Settle(t.Context(), specOf(name, "t")); err != nil || got != want {
					t.Errorf("got %v, %v, want %v", got, err, want)
				}
			}
			wantNothing(t, b, name)
			commitImage(t, b, backends.ImageVolumeID(name), 8<<20)
			if _, err := b.Clone(t.Context(), backends.ImageVolumeID(name), specOf(name, "again")); err != nil {
				t.Errorf("the name is not free: %v", err)
			}
		})
	}
}

func wantNothing(t *testing.T, b *tested, name string) {
	t.Helper()
	if id, err := anyID(b.strangers(), name); err == nil {
		t.Errorf("%s is still there: %s", name, id)
	}
	if all, err := rbd.GetTrashList(b.strangers()); err != nil || len(all) > 0 {
		t.Errorf("in the trash: %+v, %v", all, err)
	}
}

func TestSettleLeavesWhatIsNotCertainlyOurs(t *testing.T) {
	c := config(t)
	other := c
	other.Holder = "another-host"
	b, elsewhere := openBackend(t, c), openBackend(t, other)
	commitImage(t, b, "e-1", 8<<20)
	strangers := b.strangers()
	createImage(t, strangers, "strangers-parent")
	for _, r := range []struct {
		name string
		make func(name string)
	}{
		{"a stranger's half made", func(name string) { halfMade[0].make(t, strangers, name) }},
		{"a stranger's blank", func(name string) { createImage(t, strangers, name) }},
		{"another host's blank", func(name string) { createImage(t, elsewhere.own(), name) }},
		{"a stranger's clone of our image-volume", func(name string) {
			cloneOf(t, b.strangersImages(), imageName("e-1"), snapshotName, strangers, name)
		}},
		{"ours with data", func(name string) {
			createImage(t, b.own(), name)
			writeTo(t, b.own(), name)
		}},
		{"ours, a clone of a stranger's image", func(name string) {
			snapshot(t, strangers, "strangers-parent", name)
			cloneOf(t, b.own(), "strangers-parent", name, b.own(), name)
		}},
		{"another attempt's", func(name string) {
			if _, err := b.Clone(t.Context(), "e-1", specOf(name, "another")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			name := "v " + r.name
			r.make(name)
			before, err := anyID(strangers, name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := b.Settle(t.Context(), specOf(name, "t")); err != nil || got != backends.Absent {
				t.Errorf("got %v, %v, want %v", got, err, backends.Absent)
			}
			if after, err := anyID(strangers, name); err != nil || after != before {
				t.Errorf("it was %s, and is %s, %v", before, after, err)
			}
		})
	}
}

func cloneOf(t testing.TB, parentIO *rados.IOContext, parent, snap string, io *rados.IOContext, name string) {
	t.Helper()
	err := withOptions(rbd.FeatureLayering, func(o *rbd.ImageOptions) error {
		return errors.Join(o.SetUint64(rbd.ImageOptionCloneFormat, 2), rbd.CloneImage(parentIO, parent, snap, io, name, o))
	})
	if err != nil {
		t.Fatalf("clone %s@%s to %s: %v", parent, snap, name, err)
	}
}

func writeTo(t testing.TB, io *rados.IOContext, name string) {
	t.Helper()
	image, err := rbd.OpenImage(io, name, rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	_, err = image.WriteAt([]byte("data"), 4<<20)
	if err := errors.Join(err, image.Close()); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t testing.TB, io *rados.IOContext, name, snap string) {
	t.Helper()
	image, err := rbd.OpenImage(io, name, rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	_, err = image.CreateSnapshot(snap)
	if err := errors.Join(err, image.Close()); err != nil {
		t.Fatal(err)
	}
}

// A draft that a process left is removed by its token, and by no other.
func TestSettleRemovesADraft(t *testing.T) {
	c := config(t)
	died, b := openBackend(t, c), openBackend(t, c)
	d, err := died.CreateVolume(t.Context(), specOf("v", "t"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Settle(t.Context(), specOf("v", "another")); err != nil || got != backends.Absent {
		t.Errorf("another token: got %v, %v", got, err)
	}
	for range 2 { // the OSDs have not missed the process yet
		_, err := b.Settle(t.Context(), specOf("v", "t"))
		if !errors.Is(err, backends.ErrUnavailable) || errors.Is(err, backends.ErrInUse) || !strings.Contains(err.Error(), "has it open, or died less than osd_client_watch_timeout ago") {
			t.Errorf("while it is watched: got error %v, want %v", err, backends.ErrUnavailable)
		}
	}
	d.(*draft).close() // as the process's end does
	if got := settleSoon(t, b, specOf("v", "t")); got != backends.Removed {
		t.Errorf("got %v, want %v", got, backends.Removed)
	}
	wantNothing(t, b, "v")
}

// What others put into the trash stays there.
func TestReapLeavesTheTrashOfOthers(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	if _, err := b.Clone(t.Context(), "e-1", specOf("ours", "t")); err != nil {
		t.Fatal(err)
	}
	createImage(t, b.strangers(), "theirs")
	createImage(t, b.strangers(), prefix+"theirs")
	names := []string{prefix + "theirs", "ours", "theirs"}
	for _, name := range names {
		if err := rbd.GetImage(b.strangers(), name).Trash(0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := b.Reap(t.Context()); err != nil {
			t.Error(err)
		}
	}
	all, err := rbd.GetTrashList(b.strangers())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range all {
		got = append(got, i.Name)
	}
	slices.Sort(got)
	if !slices.Equal(got, names) {
		t.Errorf("in the trash: %q, want %q", got, names)
	}
}
