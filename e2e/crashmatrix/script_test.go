package crashmatrix

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

const (
	imageSize  = 2 * mib
	volumeSize = 3 * mib
)

// images are what volumes are made from; each has its disk beside it, named as the image is with .disk.
var images = []string{"one.raw", "two.qcow2", "three.raw"}

// volumes are the script's, each with its image.
var volumes = map[string]string{
	"first": "one.raw", "hit": "one.raw", "second": "two.qcow2", "again": "two.qcow2", "third": "three.raw",
}

// makeImages makes the library that all daemons of a test share.
func makeImages(tb testing.TB) string {
	tb.Helper()
	needDaemon(tb)
	dir := tb.TempDir()
	for n, name := range images {
		disk := filepath.Join(dir, name+".disk")
		harness.SmallDisk(tb, disk, uint64(n+1), imageSize, imageSize/2)
		if filepath.Ext(name) == ".qcow2" {
			harness.Convert(tb, disk, filepath.Join(dir, name), "-c")
			continue
		}
		harness.Must(tb, "cp", disk, filepath.Join(dir, name))
	}
	return dir
}

// script is what is asked of a daemon: fills, clones or copies, evictions for room and by hand, and what
// goes on beside. What fits in the cache is one image-volume, so that the second evicts the first; in the
// layout over quota, the third evicts the second from the file cache.
func script() []harness.Act {
	return []harness.Act{
		create("first"), create("hit"), create("second"), create("again"), create("third"),
		{Do: func(tb testing.TB, p *harness.Player) error {
			_, err := p.Client.DeleteAllEntries(tb.Context(), "", plugin.ForceDetach(false))
			return err
		}},
		harness.DeepCheck(), harness.Count(), harness.Clean(),
	}
}

func create(volume string) harness.Act {
	return harness.Create(api.CreateRequest{
		Image: "library:" + volumes[volume], Volume: backends.VolumeName(volume), SizeBytes: volumeSize,
	})
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

// wholeVolumes are a daemon's volumes by name. Each is one of the script's, and has its image's bytes and
// zeroes behind them.
func wholeVolumes(tb testing.TB, d *harness.Daemon) map[string]plugin.VolumeView {
	tb.Helper()
	found := make(map[string]plugin.VolumeView)
	for _, v := range d.Volumes(tb) {
		name := string(v.Volume)
		image, ours := volumes[name]
		if !ours {
			tb.Errorf("a volume that nobody asked for: %s", name)
			continue
		}
		harness.SameContent(tb, v.Path, filepath.Join(d.Config.Images, image+".disk"), volumeSize)
		found[name] = v
	}
	return found
}
