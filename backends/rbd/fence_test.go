//go:build ceph

package rbd

import (
	"fmt"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// What a client was told to watch in the moment in which it died, the OSD notes and never lets expire; what it
// left is removed all the same.
func TestAWatchThatOutlivesItsClientIsEnded(t *testing.T) {
	c := config(t)
	died, b := openBackend(t, c), openBackend(t, c)
	k := killed{Conf: c.Conf, Keyring: c.Keyring, Namespace: c.Namespace}
	var specs []backends.VolumeSpec
	for n := range 20 {
		spec := specOf(fmt.Sprintf("v-%d", n), "t")
		d, err := died.CreateVolume(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		d.(*draft).close()
		specs, k.Watch = append(specs, spec), append(k.Watch, d.(*draft).rbdID)
	}
	for n := range 5 { // the OSD is at a watch in that moment, or not
		killACloner(t, k, time.Duration(150+10*n)*time.Millisecond)
	}
	for _, spec := range specs {
		if got := settleSoon(t, b, spec); got != backends.Removed {
			t.Errorf("%s: got %v, want %v", spec.Name, got, backends.Removed)
		}
	}
	wantNothing(t, b, "v-0")
}

// An image-volume and a volume that a client which was killed had open are removed at once.
func TestWhatADeadClientHasOpenIsRemoved(t *testing.T) {
	c := config(t)
	b := openBackend(t, c)
	commitImage(t, b, "e-1", 8<<20)
	if _, err := b.Clone(t.Context(), "e-1", specOf("v-0", "t")); err != nil {
		t.Fatal(err)
	}
	image, err := idOf(b.ownImages(), prefix+"e-1")
	if err != nil {
		t.Fatal(err)
	}
	volume, err := idOf(b.strangers(), "v-0")
	if err != nil {
		t.Fatal(err)
	}
	k := killed{Conf: c.Conf, Keyring: c.Keyring, Namespace: c.Namespace}
	for range 8 { // each of them is open in that moment, or not
		k.Watch, k.WatchImages = append(k.Watch, volume), append(k.WatchImages, image)
	}
	killACloner(t, k, 150*time.Millisecond)
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "v-0"}); err != nil {
		t.Errorf("delete the volume: %v", err)
	}
	if r, err := b.Retire(t.Context(), "e-1"); err != nil || !r.Gone {
		t.Errorf("retire the image-volume: got %+v, %v, want it gone", r, err)
	}
	wantNothing(t, b, "v-0")
}
