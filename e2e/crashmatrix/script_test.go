package crashmatrix

import (
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

const (
	imageSize  = 2 * mib
	volumeSize = 3 * mib
)

var shelf = harness.Library{ImageBytes: imageSize, DataBytes: imageSize / 2, VolumeBytes: volumeSize}

// makeImages makes the library that all daemons of a test share.
func makeImages(tb testing.TB) string {
	tb.Helper()
	needDaemon(tb)
	return shelf.Make(tb)
}

// script is what is asked of a daemon: fills, clones or copies, evictions for room and by hand, and what
// goes on beside. What fits in the cache is one image-volume, so that the second evicts the first; in the
// layout over quota, the third evicts the second from the file cache.
func script() []harness.Act {
	return []harness.Act{
		shelf.Create("first"), shelf.Create("hit"), shelf.Create("second"), shelf.Create("again"), shelf.Create("third"),
		harness.DeleteEntries(), harness.DeepCheck(), harness.Count(), harness.Clean(),
	}
}

// newPlayer is a daemon that will play the script. Whatever it answers is looked at: every byte of every
// volume, and, whenever it is idle, of every image-volume.
func newPlayer(tb testing.TB, c harness.Config) *harness.Player {
	tb.Helper()
	d := harness.New(tb, c)
	p := &harness.Player{Daemon: d, Client: d.Client(tb), Script: script()}
	p.Idle = func(tb testing.TB) {
		tb.Helper()
		d.Consistent(tb)
		if err := harness.DeepCheck().Do(tb, p); err != nil {
			tb.Fatal(err)
		}
	}
	p.Whole = func(tb testing.TB) map[string]plugin.VolumeView {
		tb.Helper()
		return wholeVolumes(tb, d)
	}
	p.Held = func(tb testing.TB) []string { return tree(tb, d) }
	return p
}

// wholeVolumes are a daemon's volumes by name, each with its image's bytes.
func wholeVolumes(tb testing.TB, d *harness.Daemon) map[string]plugin.VolumeView {
	tb.Helper()
	return shelf.Whole(tb, d, func(v plugin.VolumeView, disk string) { harness.SameContent(tb, v.Path, disk, volumeSize) })
}
