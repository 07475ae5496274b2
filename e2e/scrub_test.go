package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// A bit that has flipped on the disk, below what the host remembers, is found by the daemon's scrub, and no volume is made
// from the image-volume afterwards.
func TestABitThatFlippedOnDiskIsFound(t *testing.T) {
	needDaemon(t)
	fs := fstest.New(t, fstest.XFS, fstest.MinXFS)
	d := harness.Start(t, harness.Config{Volumes: filepath.Join(fs.Dir, "volumes"), Cache: filepath.Join(fs.Dir, "cache")})
	image, disk := addImage(t, d, 1)
	first := d.Create(t, harness.Volume{Image: image, Name: "v1"})
	if r := d.CLI(t, "scrub", "--share", "100"); r.Exit != 0 || !strings.Contains(r.Stdout, "1 image-volume was read") {
		t.Fatalf("scrub of what is right: %+v", r)
	}
	volume := filepath.Join(d.Config.Volumes, ".clonecache", "image-volumes", d.Entries(t)[0].ImageVolume)
	harness.SameContent(t, volume, disk, imageSize) // and now it is remembered
	fs.FlipBit(t, volume, 2*mib+11)
	if r := d.CLI(t, "scrub", "--share", "100"); r.Exit != 8 || !strings.Contains(r.Stdout, "made from it: v1") {
		t.Errorf("scrub: %+v, want exit code 8, and v1 named", r)
	}
	if r := d.CLI(t, "check"); r.Exit != 8 || !strings.Contains(r.Stdout, "quarantined") {
		t.Errorf("check: %+v", r)
	}
	d.Kill()
	d.Start(t)
	if r := d.CLI(t, "status"); !strings.Contains(r.Stdout, "1 image-volume is damaged and in quarantine") {
		t.Errorf("status: %+v", r)
	}
	second := d.Create(t, harness.Volume{Image: image, Name: "v2"})
	if second.Outcome != plugin.Filled || second.MissCause != plugin.MissQuarantined || second.EntryID == first.EntryID {
		t.Errorf("afterwards: got %+v, want it filled anew", second)
	}
	harness.SameContent(t, second.Path, disk, imageSize)
	if r := d.CLI(t, "entry", "delete", first.EntryID); r.Exit != 0 {
		t.Errorf("delete: %+v", r)
	}
	d.Consistent(t)
}
