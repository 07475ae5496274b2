package crashmatrix

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

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

// daemon is a daemon that plays the script, once or, after a kill, from where it was.
type daemon struct {
	*harness.Daemon
	client *api.Client

	at       int           // the act that was not answered
	answered int64         // requests for volumes that were
	answer   plugin.Answer // the last one to a request for a volume
	unheard  int64         // those that the daemon counted, and was killed before its answer arrived
}

func newDaemon(tb testing.TB, c harness.Config) *daemon {
	tb.Helper()
	d := harness.New(tb, c)
	return &daemon{Daemon: d, client: d.Client(tb)}
}

// act is one call into the daemon.
type act struct {
	volume string // "": it makes none
	do     func(testing.TB, *daemon) error
}

// script is what is asked of a daemon: fills, clones or copies, evictions for room and by hand, and what
// goes on beside. What fits in the cache is one image-volume, so that the second evicts the first; in the
// layout over quota, the third evicts the second from the file cache.
var script = []act{
	create("first"), create("hit"), create("second"), create("again"), create("third"),
	{do: func(tb testing.TB, d *daemon) error {
		_, err := d.client.DeleteAllEntries(tb.Context(), "", plugin.ForceDetach(false))
		return err
	}},
	{do: checked},
	{do: func(tb testing.TB, d *daemon) error { // which lets the catalog count what was answered
		_, err := d.client.Report(tb.Context(), "", "")
		return err
	}},
	{do: func(tb testing.TB, d *daemon) error {
		_, err := d.client.Clean(tb.Context())
		return err
	}},
}

// checked asks the daemon to compare all it has, image-volumes byte by byte.
func checked(tb testing.TB, d *daemon) error {
	c, err := d.client.Check(tb.Context(), api.CheckRequest{Deep: true}, nil)
	if err == nil && !c.OK {
		tb.Errorf("deep check found problems: %+v", c.Problems)
	}
	return err
}

func create(volume string) act {
	return act{volume: volume, do: func(tb testing.TB, d *daemon) error {
		a, err := d.client.CreateVolume(tb.Context(), api.CreateRequest{
			Image: "library:" + volumes[volume], Volume: backends.VolumeName(volume), SizeBytes: volumeSize,
		}, nil)
		if err != nil {
			return err
		}
		d.answered++
		d.answer = a
		if a.Outcome == plugin.Bypassed {
			return fmt.Errorf("%w: %s: %s", errBypassed, a.Reason, a.Detail)
		}
		d.wholeVolume(tb, volume, a.Path)
		return nil
	}}
}

var errBypassed = errors.New("no volume was made")

// play goes on with the script until its end and stops the daemon, or until the daemon is gone.
func (d *daemon) play(tb testing.TB) (killed bool) {
	tb.Helper()
	for ; d.at < len(script); d.at++ {
		err := script[d.at].do(tb, d)
		if err == nil {
			continue
		}
		if ended(tb, d.Daemon) && d.Killed() {
			return true
		}
		tb.Fatalf("act %d (volume %q): %v", d.at, script[d.at].volume, err)
	}
	d.Stop(tb)
	return d.Killed()
}

// ended tells whether a process whose call failed is gone; a kill shows at the caller a moment earlier.
func ended(tb testing.TB, d *harness.Daemon) bool {
	tb.Helper()
	select {
	case <-d.Ended():
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}

// wholeVolume checks that a volume has its image's bytes, and zeroes behind them.
func (d *daemon) wholeVolume(tb testing.TB, volume, path string) {
	tb.Helper()
	harness.SameContent(tb, path, filepath.Join(d.Config.Images, volumes[volume]+".disk"), volumeSize)
}
