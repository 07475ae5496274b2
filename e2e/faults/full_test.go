package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// steps are how much space is left, in bytes: at each another write is the one that finds none.
var steps = []int64{
	0, 4 * kib, 8 * kib, 12 * kib, 16 * kib, 24 * kib, 32 * kib, 48 * kib, 64 * kib, 96 * kib, 128 * kib, 192 * kib, 256 * kib,
	384 * kib, 512 * kib, 768 * kib, mib, 3 * mib / 2, 2 * mib, 5 * mib / 2, 3 * mib, 7 * mib / 2, 4 * mib, 6 * mib, 8 * mib,
}

// place is what lies on the filesystem that becomes full.
type place struct {
	name       string
	filesystem fstest.Kind
	on         func(c *harness.Config, dir string)
	// others lie on an XFS that has space.
	reasons []plugin.Reason // that a request may step aside for
}

var places = []place{
	{"volumes on xfs", fstest.XFS, func(c *harness.Config, dir string) { c.Volumes = dir }, []plugin.Reason{plugin.ReasonBackendFull}},
	{"volumes on ext4", fstest.Ext4, func(c *harness.Config, dir string) { c.Volumes = dir }, []plugin.Reason{plugin.ReasonBackendFull}},
	{"file cache on ext4", fstest.Ext4, func(c *harness.Config, dir string) { c.Cache = dir }, []plugin.Reason{plugin.ReasonBackendFull}},
}

// Wherever a filesystem becomes full while an image is cached and a volume is made of it, the request
// steps aside and says so, nothing is left over, and once there is space the same request succeeds.
func TestAFullFilesystem(t *testing.T) {
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			d, full := p.start(t)
			disks := library(t, d)
			var failed, made int
			for _, left := range steps {
				t.Run(fmt.Sprintf("%d KiB are left", left/kib), func(t *testing.T) {
					if d.fillAndHit(t, full, left, p.reasons, disks) {
						made++
					} else {
						failed++
					}
				})
			}
			if failed < 4 || made < 1 {
				t.Errorf("%d requests found no space and %d did: the steps do not reach the writes in between", failed, made)
			}
		})
	}
}

// fullDaemon is a daemon and what its filesystems hold.
type fullDaemon struct {
	*harness.Daemon
	client *api.Client
}

// start starts a daemon with one place on a small filesystem, and everything else on a roomy one. Where
// copies are wanted, volumes lie on ext4.
func (p place) start(t *testing.T) (*fullDaemon, *ballast) {
	t.Helper()
	needMounts(t)
	size := map[fstest.Kind]int64{fstest.XFS: fstest.MinXFS, fstest.Ext4: 64 * mib}[p.filesystem]
	small := fstest.Mount(t, p.filesystem, size)
	roomy := fstest.Mount(t, fstest.Ext4, 256*mib)
	c := harness.Config{Volumes: filepath.Join(roomy, "volumes"), Cache: filepath.Join(roomy, "cache")}
	p.on(&c, filepath.Join(small, "clonecache"))
	d := harness.Start(t, c)
	return &fullDaemon{Daemon: d, client: d.Client(t)}, &ballast{dir: small}
}

// library makes the image and returns its disk.
func library(t *testing.T, d *fullDaemon) string {
	t.Helper()
	disk := filepath.Join(d.Config.Images, "disk.raw")
	harness.SmallDisk(t, disk, 7, diskBytes, diskBytes/2)
	return disk
}

// fillAndHit asks for a volume with so much space left, twice if the first was made, and then again with
// space. It tells whether both were made without.
func (d *fullDaemon) fillAndHit(t *testing.T, full *ballast, left int64, reasons []plugin.Reason, disk string) bool {
	t.Helper()
	before := listing(t, d.Config.Volumes, d.Config.Cache)
	full.leave(t, left)
	defer full.drop(t)
	made := 0
	for _, name := range []string{"one", "two"} {
		if d.ask(t, name, reasons, disk) {
			made++
		}
		d.consistent(t)
		if held := unnamed(t, d.PID(), ""); len(held) > 0 {
			t.Errorf("files without a name that are still held: %q", held)
		}
	}
	full.drop(t)
	for _, name := range []string{"one", "two"} {
		if !d.ask(t, name, nil, disk) {
			t.Error("no volume, though there is space")
		}
	}
	d.Consistent(t)
	d.clear(t)
	if after := listing(t, d.Config.Volumes, d.Config.Cache); after != before {
		t.Errorf("left on disk:\n%s\nbefore it was:\n%s", after, before)
	}
	return made == 2
}

// consistent checks what must hold with a fault too. Where the catalog cannot be written, that is the only
// problem, and a claim may stay reserved until it can.
func (d *fullDaemon) consistent(t *testing.T) {
	t.Helper()
	if left := d.Leftovers(t); len(left) > 0 {
		t.Errorf("left over on disk: %q", left)
	}
	writable := true
	for _, p := range d.Check(t, "--deep").Problems {
		if p.Kind != "catalog-not-written" {
			t.Errorf("check found a problem: %+v", p)
		}
		writable = false
	}
	if v := d.Quota(t).Volumes; v.InUse != v.Actual || writable && v.Reserved != 0 {
		t.Errorf("quota of volumes: in use %d, actual %d, reserved %d", v.InUse, v.Actual, v.Reserved)
	}
}

// ask asks for a volume, and checks it, or why there is none.
func (d *fullDaemon) ask(t *testing.T, name string, reasons []plugin.Reason, disk string) bool {
	t.Helper()
	a, err := d.client.CreateVolume(t.Context(), api.CreateRequest{Image: "library:disk.raw", Volume: backends.VolumeName(name)}, nil)
	if err != nil {
		t.Fatalf("volume %s: %v", name, err)
	}
	if a.Outcome != plugin.Bypassed {
		harness.SameContent(t, a.Path, disk, diskBytes)
		return true
	}
	known := false
	for _, r := range reasons {
		known = known || a.Reason == r
	}
	if !known {
		t.Errorf("volume %s: bypassed with reason %s (%s), want one of %q", name, a.Reason, a.Detail, reasons)
	}
	meaningful(t, a.Detail)
	if _, err := os.Lstat(filepath.Join(d.Config.Volumes, name)); err == nil {
		t.Errorf("volume %s is there, and the answer says that it is not", name)
	}
	return false
}

// clear removes all volumes and entries.
func (d *fullDaemon) clear(t *testing.T) {
	t.Helper()
	for _, v := range d.Volumes(t) {
		if err := d.client.DeleteVolume(t.Context(), v.Backend, v.Volume); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.client.DeleteAllEntries(t.Context(), "", plugin.ForceDetach(false)); err != nil {
		t.Error(err)
	}
}
