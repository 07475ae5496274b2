package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// startOnState starts a daemon whose state directory lies on a filesystem of its own, and everything else
// on an XFS.
func startOnState(t *testing.T, c harness.Config) (*fullDaemon, *fstest.Filesystem) {
	t.Helper()
	needMounts(t)
	state := fstest.New(t, fstest.Ext4, 64*mib)
	roomy := mountXFS(t)
	c.Volumes, c.Cache = filepath.Join(roomy, "volumes"), filepath.Join(roomy, "cache")
	d := harness.New(t, c)
	if err := os.Symlink(filepath.Join(state.Dir, "state"), d.State); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(state.Dir, "state"), 0o750); err != nil {
		t.Fatal(err)
	}
	d.Start(t)
	return &fullDaemon{Daemon: d, client: d.Client(t)}, state
}

// Wherever the filesystem with catalog and journal becomes full, requests step aside or are served, and
// the daemon goes on once there is space, without a restart, and after one.
func TestAFullStateDirectory(t *testing.T) {
	d, state := startOnState(t, harness.Config{})
	disk := library(t, d)
	full := &ballast{dir: state.Dir}
	var failed, made int
	for _, left := range []int64{0, 4 * kib, 8 * kib, 16 * kib, 24 * kib, 32 * kib, 48 * kib, 64 * kib, 96 * kib, 128 * kib, 256 * kib, 512 * kib, mib} {
		t.Run(fmt.Sprintf("%d KiB are left", left/kib), func(t *testing.T) {
			if d.fillAndHit(t, full, left, []plugin.Reason{plugin.ReasonCacheError}, disk) {
				made++
			} else {
				failed++
			}
		})
	}
	if failed < 2 || made < 1 {
		t.Errorf("%d requests found no space and %d did", failed, made)
	}
	d.Restart(t)
	if !d.ask(t, "three", nil, disk) {
		t.Error("no volume after the restart")
	}
	d.Consistent(t)
}

// A spool that finds no space is a reason to step aside, and is gone afterwards.
func TestAFullScratchDirectory(t *testing.T) {
	disk, _ := makeImage(t, "raw")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/disk.raw" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush() // its length is not announced, so that the image must be spooled
		bytes.NewReader(disk).WriteTo(w)
	}))
	t.Cleanup(server.Close)
	d, state := startOnState(t, harness.Config{Web: map[string]string{"web": server.URL}})
	full := &ballast{dir: state.Dir}
	full.leave(t, 512*kib)
	exit, a, failed := d.TryCreate(t, harness.Volume{Image: "web:disk.raw", Name: "v"})
	if exit != harness.ExitBypassed || a.Reason != plugin.ReasonScratchFull {
		t.Errorf("got exit %d, %s, reason %s (%s), error %+v; want it bypassed for scratch_full", exit, a.Outcome, a.Reason, a.Detail, failed)
	}
	meaningful(t, a.Detail)
	d.Consistent(t)
	if held := unnamed(t, d.PID(), ""); len(held) > 0 {
		t.Errorf("files without a name that are still held: %q", held)
	}
	full.drop(t)
	if a := d.Create(t, harness.Volume{Image: "web:disk.raw", Name: "v"}); a.Outcome != plugin.Filled {
		t.Errorf("with space: got outcome %s, want filled", a.Outcome)
	}
	d.Consistent(t)
}
