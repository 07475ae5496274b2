package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// Every refusal has its code, its exit code and a sentence.
func TestErrorsOfTheCommandLine(t *testing.T) {
	d := cloning(t, harness.Config{})
	ref, _ := addImage(t, d, 1)
	for _, c := range []struct {
		name   string
		volume harness.Volume
		code   string
	}{
		{"no such image", harness.Volume{Image: "library:absent.raw", Name: "v"}, "image_not_found"},
		{"no such source", harness.Volume{Image: "nowhere:image.raw", Name: "v"}, "image_not_found"},
		{"out of the library", harness.Volume{Image: "library:../state/catalog.db", Name: "v"}, "image_reference_refused"},
		{"no such backend", harness.Volume{Image: ref, Name: "v", Flags: []string{"--backend", "absent"}}, "unknown_backend"},
		{"a bad volume name", harness.Volume{Image: ref, Name: "../v"}, "bad_name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			exit, _, failed := d.TryCreate(t, c.volume)
			if exit == 0 || exit == harness.ExitBypassed || failed.Code != c.code {
				t.Errorf("got exit %d, code %q (%s); want a refusal with %q", exit, failed.Code, failed.Message, c.code)
			}
			if len(strings.Fields(failed.Message)) < 4 {
				t.Errorf("message is no sentence: %q", failed.Message)
			}
		})
	}
	d.Consistent(t)
}

// Without a daemon the command line says so, and how to start one.
func TestNoDaemonBehindTheSocket(t *testing.T) {
	needDaemon(t)
	server := "unix://" + filepath.Join(t.TempDir(), "s")
	for _, args := range [][]string{{"status"}, {"volume", "create", "a:b", "--name", "v"}, {"report"}} {
		r := harness.Run(t, append(args, "--server", server)...)
		if r.Exit != exitUnavailable {
			t.Errorf("%q: got exit %d, want %d", args, r.Exit, exitUnavailable)
		}
		if !strings.Contains(r.Stderr, "s") || len(strings.Fields(r.Stderr)) < 5 {
			t.Errorf("%q: no sentence: %q", args, r.Stderr)
		}
	}
}

// exitUnavailable is the documented exit code where no daemon answers.
const exitUnavailable = 3

// Usage errors have an exit code of their own, and help texts show examples.
func TestUsageAndHelp(t *testing.T) {
	needDaemon(t)
	for _, args := range [][]string{{"volume", "create"}, {"volume", "create", "a:b"}, {"nonsense"}, {"report", "--nonsense"}} {
		if r := harness.Run(t, args...); r.Exit != 2 || r.Stderr == "" {
			t.Errorf("%q: got exit %d, %q; want 2 and a message", args, r.Exit, r.Stderr)
		}
	}
	for _, verb := range []string{"serve", "config check", "status", "volume create", "volume list", "volume delete",
		"entry list", "entry show", "entry delete", "entry pin", "entry unpin", "report", "quota", "backend list",
		"prune", "clean", "check", "image inspect"} {
		r := harness.Run(t, append(strings.Fields(verb), "--help")...)
		if r.Exit != 0 || !strings.Contains(r.Stdout, "Examples:") {
			t.Errorf("%s --help: got exit %d, no examples:\n%s", verb, r.Exit, r.Stdout)
		}
	}
}
