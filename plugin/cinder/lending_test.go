package cinder

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/e2e/harness"
)

// lendingConfig has a backend in a Cinder, and an image source that stands for Glance.
const lendingConfig = `
state_dir = "%[1]s/state"
listen = ["unix://%[1]s/s"]
[internal_tenant]
kind = "openstack"
auth_url = "%[2]s"
user = "owner"
project = "cache"
password_file = "%[1]s/password"
[[image_source]]
name = "glance"
kind = "directory"
path = "%[1]s/images"
[[backend]]
name = "any"
kind = "cinder"
volume_type = "__DEFAULT__"
`

// imageID is that of the tests' image in Python.
const imageID = "5e1f6e4c-0000-4000-8000-000000000001"

// The hook before any driver, and the daemon as it is installed, understand each other: five volumes of a driver that allows
// two clones of one. The first loan of each generation is kept, and the next clone begins by it.
func TestTheDaemonLendsToTheHook(t *testing.T) {
	needCinder(t)
	fake := cindertest.New(t)
	fake.With(func() { fake.Place = "host@b#b" })
	dir, program := lendingDir(t, fake.URL), harness.Binary(t) // built before the time runs
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var log bytes.Buffer
	daemon := exec.CommandContext(ctx, program, "serve", "--config", filepath.Join(dir, "c.toml"))
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(ctx, python, "-W", "ignore::DeprecationWarning", "-m", "tests.lending_child", filepath.Join(dir, "s"))
	child.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "TMPDIR="+dir)
	out, err := child.CombinedOutput()
	_ = daemon.Process.Signal(os.Interrupt)
	_ = daemon.Wait()
	if want := "made full made full of 3 volumes"; err != nil || !strings.Contains(string(out), want) {
		t.Fatalf("%v\n%s\nwant %q; the daemon:\n%s", err, out, want, log.String())
	}
	for _, v := range fake.All() {
		if v.ImageRef != imageID || v.Metadata["clonecache_image_volume"] == "" {
			t.Errorf("Cinder has %+v", v)
		}
	}
	if n := len(fake.All()); n != 3 {
		t.Errorf("Cinder has %d volumes, want 3 generations", n)
	}
}

// lendingDir has what the daemon needs, below a path that is short enough for a socket.
func lendingDir(t *testing.T, authURL string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"password": []byte("secret"), "c.toml": fmt.Appendf(nil, lendingConfig, dir, authURL),
		filepath.Join("images", imageID): make([]byte, 8192),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
