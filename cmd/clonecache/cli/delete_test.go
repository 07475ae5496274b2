package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestEachVolumeThatIsToGoIsSpokenOf(t *testing.T) {
	d := startDaemon(t)
	for _, name := range []string{"d1", "d2", "d3"} {
		query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", name)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "volumes/foreign"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	exit, stdout, stderr := d.run(t, "volume", "delete", "no1", "d1", "foreign", "d2", "no2")
	if exit != exitConflict || stdout != "deleted volume d1\ndeleted volume d2\n" {
		t.Errorf("got exit code %d and %q, want %d and both volumes", exit, stdout, exitConflict)
	}
	for _, want := range []string{"clonecache: volume no1: there is no such volume", "clonecache: volume foreign: it was not made by clonecache", "clonecache: volume no2: "} {
		if !strings.Contains(stderr, want) {
			t.Errorf("got %q, want %q in it", stderr, want)
		}
	}
	got := query[deletedVolumes](t, d, exitNotFound, "volume", "delete", "no1", "d3")
	if len(got.Deleted) != 1 || len(got.Failed) != 1 || got.Failed[0].Volume != "no1" || got.Failed[0].Error.Code != "volume_not_found" || got.Error == nil || got.Error.Code != "volume_not_found" {
		t.Errorf("got %+v, want d3 deleted and no1 not found", got)
	}
}

func TestTheWorstExitCode(t *testing.T) {
	for _, c := range exitCodes {
		if c.code == exitOK || c.code == exitBypassed || c.code == exitProblems { // no failures of a deletion
			continue
		}
		if !worse(c.code, exitOK) {
			t.Errorf("exit code %d is no worse than success", c.code)
		}
	}
	if !worse(exitConflict, exitNotFound) || worse(exitLater, exitNotFound) || worse(exitError, exitError) {
		t.Error("the order is not what the help says")
	}
}

// TestARemedyFitsItsCause: what the command line adds to the API's sentences.
func TestARemedyFitsItsCause(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(strings.Repeat("t", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unauthorized := &api.Error{Code: "unauthorized", Status: 401, Message: "x"}
	for _, c := range []struct {
		name string
		a    app
		err  *api.Error
		want []string
	}{
		{"no token", app{}, unauthorized, []string{"--token-file", "CLONECACHE_TOKEN_FILE", "--os-token-file"}},
		{"wrong token", app{tokenFile: token}, unauthorized, []string{token, "is not the daemon's"}},
		{"wrong token of Keystone's", app{osTokenFile: token}, unauthorized, []string{token, "[api.keystone]", "openstack token issue"}},
		{"logged", app{}, &api.Error{Code: "internal", Status: 500, Message: "under this request's ID", RequestID: "01a1fbb7"}, []string{"\n  request ID: 01a1fbb7\n"}},
	} {
		var errs strings.Builder
		c.a.Env = testEnv(nil, &errs)
		c.a.finish(t.Context(), c.err)
		for _, want := range c.want {
			if !strings.Contains(errs.String(), want) {
				t.Errorf("%s: got %q, want %q in it", c.name, errs.String(), want)
			}
		}
	}
}
