//go:build ceph

package cephproof

import (
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

const (
	imageSize  = 12 * mib // three RBD objects
	imageData  = 3 * mib
	volumeSize = 16 * mib
)

var shelf = harness.Library{ImageBytes: imageSize, DataBytes: imageData, VolumeBytes: volumeSize}

// script fills and clones; since the cache holds one image-volume, the second and third image detach the
// one before, which has clones; the first is reaped once its clones are deleted, the third is evicted
// after its only clone is deleted.
func script() []harness.Act {
	return []harness.Act{
		shelf.Create("first"), shelf.Create("hit"), shelf.Create("second"), shelf.Create("again"),
		harness.DeleteVolume("first"), harness.DeleteVolume("hit"), harness.Clean(),
		shelf.Create("third"), harness.DeleteVolume("third"),
		harness.DeleteEntries(), harness.DeepCheck(), harness.Count(), harness.Clean(),
	}
}

// player is a daemon in a namespace of its own.
type player struct {
	*harness.Player
	site *site
}

// newPlayer is a daemon that will play the script in a new namespace.
func newPlayer(tb testing.TB, c harness.Config) player {
	tb.Helper()
	s := newSite(tb, cluster, c)
	d := harness.New(tb, s.Config)
	p := &harness.Player{Daemon: d, Client: d.Client(tb), Script: script()}
	p.Idle = func(tb testing.TB) {
		tb.Helper()
		s.settled(tb, d)
		if err := harness.DeepCheck().Do(tb, p); err != nil {
			tb.Fatal(err)
		}
	}
	p.Whole = func(tb testing.TB) map[string]plugin.VolumeView {
		tb.Helper()
		return s.wholeVolumes(tb, d)
	}
	p.Held = s.lines
	return player{p, s}
}

// wholeVolumes are a daemon's volumes by name, each with its image's bytes.
func (s *site) wholeVolumes(tb testing.TB, d *harness.Daemon) map[string]plugin.VolumeView {
	tb.Helper()
	return shelf.Whole(tb, d, func(v plugin.VolumeView, disk string) {
		s.wholeVolume(tb, harness.Volume{Name: string(v.Volume), Size: volumeSize}, disk)
	})
}
