// Package cinder has no Go code: it holds the Cinder driver hook, which is Python. Its tests are run by
// this one where Cinder is installed.
package cinder

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
)

// python is the interpreter that Debian's Cinder runs on.
const python = "/usr/bin/python3"

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// needCinder skips a test where Cinder is not installed.
func needCinder(t *testing.T) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import cinder.volume.driver").CombinedOutput(); err != nil {
		t.Skipf("Cinder is not installed for %s (Debian: python3-cinder): %v\n%s", python, err, out)
	}
}

// The hook keeps its promises with Cinder's real classes and the real daemon.
func TestHook(t *testing.T) {
	needCinder(t)
	program := harness.Binary(t) // built before the time runs
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	tests := exec.CommandContext(ctx, python, "-W", "ignore::DeprecationWarning", "-m", "unittest", "discover", "-b", "-t", ".", "-s", "tests")
	tests.Env = append(os.Environ(), "CLONECACHE_BIN="+program, "CLONECACHE_FAILPOINTS=1", "PYTHONDONTWRITEBYTECODE=1")
	out, err := tests.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// The hook's code is in the style that its setup.cfg says.
func TestStyle(t *testing.T) {
	if err := exec.CommandContext(t.Context(), python, "-m", "flake8", "--version").Run(); err != nil {
		t.Skip("flake8 is not installed (Debian: python3-flake8)")
	}
	if out, err := exec.CommandContext(t.Context(), python, "-m", "flake8", "clonecache_cinder", "tests").CombinedOutput(); err != nil {
		t.Errorf("flake8: %v\n%s", err, out)
	}
}
