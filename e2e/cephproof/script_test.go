//go:build ceph

package cephproof

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

const (
	imageSize  = 12 * mib // three RBD objects
	imageData  = 3 * mib
	volumeSize = 16 * mib
)

// images are what volumes are made from; each has its disk beside it, named as the image is with .disk.
var images = []string{"one.raw", "two.qcow2", "three.raw"}

// volumes are the scripts', each with its image.
var volumes = map[string]string{
	"first": "one.raw", "hit": "one.raw", "second": "two.qcow2", "again": "two.qcow2", "third": "three.raw",
}

// makeImages makes the library that all daemons of a test share.
func makeImages(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	for n, name := range images {
		disk := filepath.Join(dir, name+".disk")
		harness.SmallDisk(tb, disk, uint64(n+1), imageSize, imageData)
		if filepath.Ext(name) == ".qcow2" {
			harness.Convert(tb, disk, filepath.Join(dir, name), "-c")
			continue
		}
		harness.Must(tb, "cp", disk, filepath.Join(dir, name))
	}
	return dir
}

// script fills and clones; since the cache holds one image-volume, the second and third image detach the
// one before, which has clones; the first is reaped once its clones are deleted, the third is evicted
// after its only clone is deleted.
func script() []harness.Act {
	return []harness.Act{
		create("first"), create("hit"), create("second"), create("again"),
		harness.DeleteVolume("first"), harness.DeleteVolume("hit"), harness.Clean(),
		create("third"), harness.DeleteVolume("third"),
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

// wholeVolumes are a daemon's volumes by name. Each is one of the script's, and has its image's bytes and
// zeroes behind them.
func (s *site) wholeVolumes(tb testing.TB, d *harness.Daemon) map[string]plugin.VolumeView {
	tb.Helper()
	found := make(map[string]plugin.VolumeView)
	for _, v := range d.Volumes(tb) {
		name := string(v.Volume)
		image, ours := volumes[name]
		if !ours {
			tb.Errorf("a volume that nobody asked for: %s", name)
			continue
		}
		s.wholeVolume(tb, harness.Volume{Name: name, Size: volumeSize}, filepath.Join(d.Config.Images, image+".disk"))
		found[name] = v
	}
	return found
}
