package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// `make run` does the main job with a given image and ends in order; a second time it finds its cache.
func TestMakeRun(t *testing.T) {
	needDaemon(t)
	harness.NeedTools(t, "qemu-img", "make")
	if os.Geteuid() != 0 {
		t.Skip("mounting an XFS file for the volumes needs root")
	}
	dir := filepath.Join(t.TempDir(), "run")
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	raw := filepath.Join(t.TempDir(), "disk.raw")
	harness.SmallDisk(t, raw, 8, 4*imageSize, imageSize)
	harness.Convert(t, raw, image)

	first := makeRun(t, dir, image)
	if got := strings.Count(first, ": filled in "); got != 1 {
		t.Errorf("first run: %d volumes filled, want 1:\n%s", got, first)
	}
	if got := strings.Count(first, ": hit in "); got != 10 {
		t.Errorf("first run: %d hits, want 10:\n%s", got, first)
	}
	second := makeRun(t, dir, image)
	if got := strings.Count(second, ": hit in "); got != 11 {
		t.Errorf("second run: %d hits, want 11:\n%s", got, second)
	}
	if mounts, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("something is still mounted below %s (%v)", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "daemon.pid")); !os.IsNotExist(err) {
		t.Errorf("daemon.pid afterwards: got %v, want none", err)
	}
}

func makeRun(t *testing.T, dir, image string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", "run", "RUN_ONCE=1")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "RUN_ONCE=1", "RUN_DIR="+dir, "IMAGE="+image)
	out, err := cmd.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "daemon.log"))
		t.Fatalf("make run: %v\n%s\n%s", err, out, log)
	}
	return string(out)
}
