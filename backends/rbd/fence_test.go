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
