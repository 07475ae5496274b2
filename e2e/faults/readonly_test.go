package faults

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// Where the volumes' filesystem is read-only, requests for cached and for new images step aside, and
// nothing else suffers: the daemon says why, answers what can be answered, and serves again as soon as
// the filesystem can be written.
func TestReadOnlyVolumes(t *testing.T) {
	for _, kind := range []fstest.Kind{fstest.XFS, fstest.Ext4} {
		t.Run(string(kind), func(t *testing.T) {
			needMounts(t)
			fs := fstest.New(t, kind, 512*mib)
			c := harness.Config{Volumes: filepath.Join(fs.Dir, "volumes"), Cache: filepath.Join(mountXFS(t), "cache")}
			h := harness.Start(t, c)
			d := &fullDaemon{Daemon: h, client: h.Client(t)}
			d.cacheOne(t)
			before := listing(t, d.Config.Volumes)
			fs.Remount(t, "ro")
			defer fs.Remount(t, "rw")
			d.stepsAside(t, plugin.ReasonUnavailable)
			fs.Remount(t, "rw")
			if after := listing(t, d.Config.Volumes); after != before {
				t.Errorf("left on disk:\n%s\nbefore it was:\n%s", after, before)
			}
			d.servesAll(t)
		})
	}
}

// Where the kernel makes the state directory's filesystem read-only after an error of its disk, requests
// step aside, and the daemon answers what can be answered. It cannot be written again until it is
// mounted anew; then a restarted daemon goes on.
func TestAReadOnlyStateDirectory(t *testing.T) {
	d, state := startOnState(t, harness.Config{})
	state.Remount(t, "errors=remount-ro")
	d.cacheOne(t)
	before := listing(t, d.Config.Volumes, d.Config.Cache)
	breakExt4(t, state.Dir)
	d.stepsAside(t, plugin.ReasonCacheError)
	if after := listing(t, d.Config.Volumes, d.Config.Cache); after != before {
		t.Errorf("left on disk:\n%s\nbefore it was:\n%s", after, before)
	}
	d.Stop(t)
	state.Boot(t, state.Disk(t))
	d.Start(t)
	d.servesAll(t)
}

// breakExt4 makes the kernel take the filesystem for one with an error.
func breakExt4(t *testing.T, dir string) {
	t.Helper()
	device, err := exec.Command("findmnt", "-n", "-o", "SOURCE", dir).Output()
	if err != nil {
		t.Skipf("findmnt: %v", err)
	}
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(strings.TrimSpace(string(device))), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("a test"), 0); err != nil {
		t.Skipf("this kernel's ext4 cannot be told to fail: %v", err)
	}
}

// cacheOne caches one image of two.
func (d *fullDaemon) cacheOne(t *testing.T) {
	t.Helper()
	if !d.ask(t, "before", nil, library(t, d)) {
		t.Fatal("no volume before the fault")
	}
	harness.SmallDisk(t, filepath.Join(d.Config.Images, "new.raw"), 8, diskBytes, diskBytes/2)
}

// stepsAside asks for volumes of both images, which nobody can make, and for what can be answered.
func (d *fullDaemon) stepsAside(t *testing.T, reason plugin.Reason) {
	t.Helper()
	for _, image := range []string{"disk.raw", "new.raw"} {
		a, err := d.client.CreateVolume(t.Context(), api.CreateRequest{
			Image: "library:" + image, Volume: backends.VolumeName("v-" + image),
		}, nil)
		if err != nil || a.Outcome != plugin.Bypassed || a.Reason != reason {
			t.Errorf("%s: got %s, reason %s (%s), %v; want it bypassed for %s", image, a.Outcome, a.Reason, a.Detail, err, reason)
		}
		meaningful(t, a.Detail)
	}
	if got := len(d.Volumes(t)); got != 1 {
		t.Errorf("volumes meanwhile: got %d, want 1", got)
	}
	if status, _ := d.Get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("healthz: got %d, want 200", status)
	}
	d.Report(t)
	d.consistent(t)
}

// servesAll asks for the same volumes, after the fault.
func (d *fullDaemon) servesAll(t *testing.T) {
	t.Helper()
	for _, image := range []string{"disk.raw", "new.raw"} {
		a := d.Create(t, harness.Volume{Image: "library:" + image, Name: "v-" + image})
		harness.SameContent(t, a.Path, filepath.Join(d.Config.Images, image), diskBytes)
	}
	d.Consistent(t)
}
