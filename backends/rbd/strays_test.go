//go:build ceph

package rbd

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// strays lists them by their places, without pool and namespace.
func strays(t *testing.T, b *tested) map[string]backends.Stray {
	t.Helper()
	all := map[string]backends.Stray{}
	for s, err := range b.ListStrays(t.Context()) {
		if err != nil {
			t.Errorf("%s: %v", s.Place, err)
		}
		name := s.Place[strings.LastIndex(s.Place, "/")+1:]
		if strings.Contains(s.Place, " trash ") {
			name = "trash"
		}
		all[name] = s
	}
	return all
}

func wantStrays(t *testing.T, b *tested, want ...string) map[string]backends.Stray {
	t.Helper()
	all := strays(t, b)
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Errorf("strays: %q, want %q: %+v", got, want, all)
	}
	return all
}

// loseIndex forgets an image-volume as a lost index does.
func loseIndex(t *testing.T, b *tested, ids ...backends.ImageVolumeID) {
	t.Helper()
	for _, id := range ids {
		if err := dropFromIndex(b.ownImages(), imageKeys+string(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALostIndexIsRecovered(t *testing.T) {
	b := openBackend(t, config(t))
	makeCinders(t, b)
	adoptImage(t, b, "e-1")
	commitImage(t, b, "e-2", 8<<20)
	commitImage(t, b, "e-3", 8<<20)
	if _, err := b.Clone(t.Context(), "e-3", specOf("v", "t")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Retire(t.Context(), "e-3"); err != nil {
		t.Fatal(err)
	}
	createImage(t, b.ownImages(), imageName("e-4")) // a Stage died over it
	createImage(t, b.strangers(), "theirs")
	wantStrays(t, b, imageName("e-4"))
	loseIndex(t, b, "e-1", "e-2", "e-3")
	for place, s := range wantStrays(t, b, imageName("e-2"), imageName("e-4"), "trash", adoptee) {
		if !s.Recoverable || s.Remedy == "" {
			t.Errorf("%s: got %+v, want it to be recoverable", place, s)
		}
		if err := b.Recover(t.Context(), s); err != nil {
			t.Error(err)
		}
		if err := b.Recover(t.Context(), s); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("%s again: got error %v, want %v", place, err, backends.ErrNotExist)
		}
	}
	wantStrays(t, b)
	got := map[backends.ImageVolumeID]backends.ImageVolumeState{}
	for v, err := range b.ListImageVolumes(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		got[v.ID] = v.State
	}
	want := map[backends.ImageVolumeID]backends.ImageVolumeState{
		"e-1": backends.Committed, "e-2": backends.Committed, "e-3": backends.Detached, "e-4": backends.Staged,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStraysThatOnlyAPersonCanJudge(t *testing.T) {
	b := openBackend(t, config(t))
	io := b.strangersImages()
	createImage(t, io, imageName("theirs"))
	createImage(t, io, "other")
	snapshot(t, io, "other", snapshotName)
	createImage(t, b.strangers(), "volume")
	snapshot(t, b.strangers(), "volume", "another")
	for place, s := range wantStrays(t, b, imageName("theirs"), "other") {
		if s.Recoverable || !strings.Contains(s.Remedy, "`rbd ") {
			t.Errorf("%s: got %+v, want it to be for a person", place, s)
		}
		if err := b.Recover(t.Context(), s); !errors.Is(err, backends.ErrNotOurs) {
			t.Errorf("%s: got error %v, want %v", place, err, backends.ErrNotOurs)
		}
	}
	wantStrays(t, b, imageName("theirs"), "other")
}

// A draft is a stray once the process that wrote it is gone, and only its own installation removes it.
func TestStrayVolumes(t *testing.T) {
	c := config(t)
	other := c
	other.Holder = "another-host"
	died, b, elsewhere := openBackend(t, c), openBackend(t, c), openBackend(t, other)
	d, err := died.CreateVolume(t.Context(), specOf("v", "t"))
	if err != nil {
		t.Fatal(err)
	}
	wantStrays(t, b)
	d.(*draft).close() // as the process's end does
	<-d.(*draft).handle.closed
	s := wantStrays(t, elsewhere, "v")["v"]
	if err := elsewhere.Recover(t.Context(), s); s.Recoverable || !errors.Is(err, backends.ErrNotOurs) {
		t.Errorf("on another host: got %+v, %v, want %v", s, err, backends.ErrNotOurs)
	}
	if err := b.Recover(t.Context(), wantStrays(t, b, "v")["v"]); err != nil {
		t.Error(err)
	}
	wantStrays(t, b)
	wantNothing(t, b, "v")
}

// An image-volume in the trash whose removal died after its header went is a stray like others.
func TestAStrayInTheTrash(t *testing.T) {
	b := openBackend(t, config(t))
	id := createImage(t, b.ownImages(), imageName("e-1"))
	if err := rbd.GetImage(b.strangersImages(), imageName("e-1")).Trash(0); err != nil {
		t.Fatal(err)
	}
	remove(t, b.strangersImages(), headerObject+id)
	if err := b.Recover(t.Context(), wantStrays(t, b, "trash")["trash"]); err != nil {
		t.Error(err)
	}
	if r, err := b.Reap(t.Context()); err != nil || len(r.ImageVolumes) != 1 {
		t.Errorf("reap: %+v, %v", r, err)
	}
	wantNoImageVolumes(t, b)
	wantStrays(t, b)
}
