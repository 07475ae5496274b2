package harness

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// Library is the images from which a Player's script makes volumes. Its volumes are few, each has a name that the
// script uses, and one image.
type Library struct {
	ImageBytes  int64 // of each image's disk
	DataBytes   int64 // of which hold data
	VolumeBytes int64 // of each volume
}

// libraryImages are the images; each has its disk beside it, named as the image is with .disk.
var libraryImages = []string{"one.raw", "two.qcow2", "three.raw"}

// libraryVolumes are the volumes, each with its image.
var libraryVolumes = map[string]string{
	"first": "one.raw", "hit": "one.raw", "second": "two.qcow2", "again": "two.qcow2", "third": "three.raw",
}

// Make makes the images in a directory of their own, which the daemons of a test share.
func (l Library) Make(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	for n, name := range libraryImages {
		disk := filepath.Join(dir, name+".disk")
		SmallDisk(tb, disk, uint64(n+1), l.ImageBytes, l.DataBytes)
		if filepath.Ext(name) == ".qcow2" {
			Convert(tb, disk, filepath.Join(dir, name), "-c")
			continue
		}
		Must(tb, "cp", disk, filepath.Join(dir, name))
	}
	return dir
}

// Create is an act that makes one of the library's volumes.
func (l Library) Create(volume string) Act {
	return Create(api.CreateRequest{
		Image: "library:" + libraryVolumes[volume], Volume: backends.VolumeName(volume), SizeBytes: l.VolumeBytes,
	})
}

// Whole are a daemon's volumes by name. It is an error if one is none of the library's; same checks that one has
// the bytes of its image's disk, and zeroes behind them.
func (l Library) Whole(tb testing.TB, d *Daemon, same func(v plugin.VolumeView, disk string)) map[string]plugin.VolumeView {
	tb.Helper()
	found := make(map[string]plugin.VolumeView)
	for _, v := range d.Volumes(tb) {
		image, ours := libraryVolumes[string(v.Volume)]
		if !ours {
			tb.Errorf("a volume that nobody asked for: %s", v.Volume)
			continue
		}
		same(v, filepath.Join(d.Config.Images, image+".disk"))
		found[string(v.Volume)] = v
	}
	return found
}

// DeleteEntries is an act that deletes all entries which no clone depends on.
func DeleteEntries() Act {
	return Act{Do: func(tb testing.TB, p *Player) error {
		_, err := p.Client.DeleteAllEntries(tb.Context(), "", plugin.ForceDetach(false))
		return err
	}}
}
