//go:build ceph

package cephproof

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/journal"
)

// A volume of which certainly nobody was told, and that somebody has all the same, is removed by nothing but `volume delete`:
// not by the start that would take it back, by no clean, no check, no deletion of its entry, no further kill, and not once
// nobody uses it any more.
func TestAVolumeThatSomebodyHasGoesByItsNameAlone(t *testing.T) {
	t.Parallel()
	library := shelf.Make(t)
	for _, how := range []backendtest.Usage{backendtest.Opens, backendtest.Snapshots, backendtest.Writes} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, cluster, harness.Config{Images: library})
			d := harness.New(t, s.Config)
			d.KillAfter = fmt.Sprintf("%s:2", failpoint.Clone)
			d.Start(t)
			d.Create(t, harness.Volume{Image: "library:one.raw", Name: "first", Size: volumeSize})
			_, err := d.Client(t).CreateVolume(t.Context(), api.CreateRequest{
				Image: "library:one.raw", Volume: "v", SizeBytes: volumeSize, Deadline: time.Now().Add(time.Hour),
			}, nil)
			if <-d.Ended(); err == nil || !d.Killed() {
				t.Fatalf("the daemon answered (%v), and was to die", err)
			}
			d.KillAfter = ""
			end := s.use(t, "v", how)
			for range 2 {
				d.Start(t)
				everythingButDelete(t, d, s)
				d.Kill()
				end()
				end = func() {}
			}
			d.Start(t)
			s.stays(t, d)
			if r := d.CLI(t, "volume", "delete", "v"); r.Exit != 0 {
				t.Errorf("volume delete: exit %d\n%s%s", r.Exit, r.Stdout, r.Stderr)
			}
			if slices.Contains(s.names(t), "v") {
				t.Error("it is still there after `volume delete`")
			}
			d.NothingKept(t)
		})
	}
}

// everythingButDelete does all that removes things.
func everythingButDelete(t *testing.T, d *harness.Daemon, s *site) {
	t.Helper()
	for _, args := range [][]string{
		{"clean"}, {"check", "--repair"}, {"check", "--repair", "--deep"}, {"prune"}, {"entry", "delete", "--all", "--force"}, {"clean"},
	} {
		d.CLI(t, args...)
		if t.Failed() {
			return
		}
		if !slices.Contains(s.names(t), "v") {
			t.Fatalf("the volume is gone after %q", args)
		}
		s.stays(t, d)
	}
}

// stays wants the volume to be there, and to be told of as in use.
func (s *site) stays(t *testing.T, d *harness.Daemon) {
	t.Helper()
	volumes := d.Volumes(t)
	n := slices.IndexFunc(volumes, func(v plugin.VolumeView) bool { return v.Volume == "v" })
	if n < 0 || volumes[n].Kept != journal.InUse {
		t.Errorf("volume list: got %+v, want v kept: %s", volumes, journal.InUse)
	}
	if err := harness.Told(volumes, d.Check(t).Problems, d.Events(t)); err != nil {
		t.Error(err)
	}
}

// use lets somebody who found a volume by its name use it; end ends that.
func (s *site) use(t *testing.T, name string, how backendtest.Usage) (end func()) {
	t.Helper()
	image, err := rbd.OpenImage(s.volumes.IOContext, name, rbd.NoSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	switch how {
	case backendtest.Opens:
		return func() { must(image.Close()) }
	case backendtest.Snapshots:
		_, err = image.CreateSnapshot("theirs")
		must(errors.Join(err, image.Close()))
		return func() {
			image, err := rbd.OpenImage(s.volumes.IOContext, name, rbd.NoSnapshot)
			must(err)
			must(errors.Join(image.GetSnapshot("theirs").Remove(), image.Close()))
		}
	}
	_, err = image.WriteAt([]byte("theirs"), 0)
	must(errors.Join(err, image.Close()))
	return func() {}
}
