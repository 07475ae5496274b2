package cli

import (
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// What goes on where a backend is down prints what the others have, says what was left out, and ends with "not now".
func TestCommandsGoOnWhereABackendIsDown(t *testing.T) {
	d := startDaemon(t, "[[backend]]\nname = \"broken\"\nkind = \"file\"\npath = \"c.toml/volumes\"\nmax_count = 5")
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1", "--backend", "local")
	if got := query[[]plugin.VolumeView](t, d, exitLater, "volume", "list"); len(got) != 1 || got[0].Volume != "v1" {
		t.Errorf("volumes: got %+v, want v1", got)
	}
	if got := query[plugin.PruneResult](t, d, exitLater, "prune"); len(got.Unavailable) != 1 || got.Unavailable[0].Name != "broken" {
		t.Errorf("prune left out: got %+v, want broken", got.Unavailable)
	}
	if got := query[plugin.CleanResult](t, d, exitLater, "clean"); len(got.Unavailable) != 1 || got.Unavailable[0].Name != "broken" {
		t.Errorf("clean left out: got %+v, want broken", got.Unavailable)
	}
	for _, args := range [][]string{{"volume", "list"}, {"prune"}, {"prune", "--dry-run"}, {"clean"}, {"clean", "--dry-run"}} {
		exit, stdout, stderr := d.run(t, args...)
		if exit != exitLater || stdout == "" || !strings.Contains(stderr, "broken") {
			t.Errorf("%q: got exit code %d, %q and %q, want a result and the backend's name", args, exit, stdout, stderr)
		}
	}
	query[failure](t, d, exitLater, "volume", "list", "--backend", "broken")
}
