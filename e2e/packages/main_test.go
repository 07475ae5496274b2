//go:build packages

package packages

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	first  = "1.0.0"
	second = "1.1.0"
)

// dist holds the packages of both versions while the tests run.
var dist string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "not root: packages cannot be installed; skipped")
		return 0
	}
	var err error
	if dist, err = os.MkdirTemp("", "packages-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dist)
	for _, version := range []string{first, second} {
		if err := build(dist, "packages.sh", version); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := build(dist, "image.sh", first); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build runs one of the scripts of cmd/packages; what it makes goes to dir.
func build(dir, script string, args ...string) error {
	cmd := exec.Command(filepath.Join("../../cmd/packages", script), args...)
	cmd.Env = append(os.Environ(), "DIST="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", script, args, err, out)
	}
	return nil
}

// deb is the path of a package that was built.
func deb(t *testing.T, name, version string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dist, name+"_"+version+"_*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s %s: %q, %v", name, version, found, err)
	}
	return found[0]
}

// command runs a program of this machine and returns what it prints; it must succeed.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
