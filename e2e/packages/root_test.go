//go:build packages

package packages

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// root is a machine's root directory, to be changed into.
type root struct {
	dir string
}

// result is what a command in a root came to.
type result struct {
	exit           int
	stdout, stderr string
}

// newRoot is a fresh Debian: an overlay over what debootstrap has made once in this checkout.
func newRoot(t *testing.T) *root {
	t.Helper()
	base, err := filepath.Abs("../../.cache/packages/debian")
	if err != nil {
		t.Fatal(err)
	}
	bootstrap(t, base)
	dir := t.TempDir()
	upper, work, merged := filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "root")
	for _, d := range []string{upper, work, merged} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, "overlay", merged, "overlay", 0, "lowerdir="+base+",upperdir="+upper+",workdir="+work)
	mount(t, "proc", filepath.Join(merged, "proc"), "proc", 0, "")
	mount(t, "/dev", filepath.Join(merged, "dev"), "", unix.MS_BIND, "")
	return &root{dir: merged}
}

// bootstrap makes the base: whole, or not at all.
func bootstrap(t *testing.T, base string) {
	if _, err := os.Stat(base); err == nil {
		return
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		t.Fatal(err)
	}
	site, _, _ := strings.Cut(command(t, "apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"), "\n")
	draft := base + ".draft"
	if err := os.RemoveAll(draft); err != nil {
		t.Fatal(err)
	}
	command(t, "debootstrap", "--variant=minbase", "--include=systemd-standalone-sysusers,systemd-standalone-tmpfiles", "bookworm", draft, site)
	if err := os.Rename(draft, base); err != nil {
		t.Fatal(err)
	}
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Errorf("umount %s: %v", target, err)
		}
	})
}

// try runs a command in the root.
func (r *root) try(t *testing.T, words ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "chroot", append([]string{r.dir}, words...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// run is try of what must succeed; it returns what was printed.
func (r *root) run(t *testing.T, words ...string) string {
	t.Helper()
	got := r.try(t, words...)
	if got.exit != 0 {
		t.Fatalf("%q: exit %d\n%s%s", words, got.exit, got.stdout, got.stderr)
	}
	return got.stdout
}

// install installs packages of this machine's, by dpkg alone; flags are dpkg's.
func (r *root) install(t *testing.T, packages []string, flags ...string) {
	t.Helper()
	words := append([]string{"dpkg"}, append(flags, "-i")...)
	for _, p := range packages {
		r.copyIn(t, p, "/tmp/"+filepath.Base(p))
		words = append(words, "/tmp/"+filepath.Base(p))
	}
	r.run(t, words...)
}

func (r *root) copyIn(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, to, string(content))
}

func (r *root) path(name string) string { return filepath.Join(r.dir, name) }

func (r *root) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (r *root) read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(r.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func (r *root) exists(name string) bool {
	_, err := os.Lstat(r.path(name))
	return err == nil
}

// waitFor waits until something holds, for a minute at most.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute: not %s", what)
		}
	}
}
