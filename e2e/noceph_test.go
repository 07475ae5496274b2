//go:build !ceph

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// A program that was built without RBD says so, and how to get it, to who names a pool in a configuration:
// when it is checked, when it is served, and when one asks what the program has.
func TestWithoutCeph(t *testing.T) {
	needDaemon(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "clonecache.toml")
	text := "state_dir = \"" + dir + "/state\"\n[[backend]]\nname = \"ceph\"\nkind = \"rbd\"\npool = \"volumes\"\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"config", "check", file}, {"serve", "--config", file}} {
		got := harness.Run(t, args...)
		if got.Exit == 0 {
			t.Errorf("clonecache %s: exit 0", args[0])
		}
		for _, want := range []string{"backend[0].kind", "no RBD", "make build", "librbd-dev", "librados-dev"} {
			if !strings.Contains(got.Stdout+got.Stderr, want) {
				t.Errorf("clonecache %s: %q is not in what it says:\n%s%s", args[0], want, got.Stdout, got.Stderr)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); !os.IsNotExist(err) {
		t.Errorf("state_dir: got %v, want that it was not made", err)
	}
	if got := harness.Run(t, "version"); strings.Contains(got.Stdout, "rbd") {
		t.Errorf("version lists rbd among the backends:\n%s", got.Stdout)
	}
}
