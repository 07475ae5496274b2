package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// TestWhatIsNotUnderstoodFails: nothing that was asked for and does not exist ends with exit code 0.
func TestWhatIsNotUnderstoodFails(t *testing.T) {
	d := startDaemon(t)
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"help", "nothing"}, exitUsage, `there is no command or topic "nothing"`},
		{[]string{"help", "volume", "nothing"}, exitUsage, "volume nothing"},
		{[]string{"completion", "tcsh"}, exitUsage, `unknown command "tcsh"`},
		{[]string{"nothing"}, exitUsage, "nothing"},
		{[]string{"entry", "list", "--backend", "nope"}, exitNotFound, `"nope"; there is local, files`},
		{[]string{"event", "list", "--backend", "nope"}, exitNotFound, `"nope"; there is local, files`},
		{[]string{"report", "--backend", "nope"}, exitNotFound, `"nope"; there is local, files`},
		{[]string{"backend", "disable", "nope"}, exitNotFound, `"nope"; there is local, files`},
		{[]string{"scrub", "--backend", "nope"}, exitNotFound, `"nope"; there is local, files`},
		{[]string{"prefetch", "library:disk.raw", "--backend", "nope"}, exitNotFound, `"nope"; there is local, files`},
		{[]string{"volume", "list", "--backend", "nope"}, exitNotFound, `"nope"; there is local`},
		{[]string{"entry", "list", "--limit", "-1"}, exitUsage, "use a number from 0 on"},
		{[]string{"event", "list", "--limit", "-1"}, exitUsage, "use a number from 0 on"},
		{[]string{"entry", "list", "--sort", "nope"}, exitUsage, "use one of backend, state"},
		{[]string{"volume", "create", "nowhere:disk.raw", "--name", "v"}, exitNotFound, `no image source of this name: "nowhere"; there is library`},
	} {
		exit, stdout, stderr := d.run(t, c.args...)
		if exit != c.exit || !strings.Contains(stderr, c.says) || stdout != "" {
			t.Errorf("%q: got exit code %d, %q and %q; want %d and %q", c.args, exit, stdout, stderr, c.exit, c.says)
		}
	}
}

func TestHelpAndVersionOfTheProgram(t *testing.T) {
	for _, args := range [][]string{{"help"}, {}, {"--help"}} {
		if exit, stdout, _ := local(t, args...); exit != exitOK || !strings.Contains(stdout, "Available Commands:") {
			t.Errorf("%q: got exit code %d and %q", args, exit, stdout)
		}
	}
	if exit, stdout, _ := local(t, "help", "volume", "create"); exit != exitOK || !strings.Contains(stdout, "--on-miss") {
		t.Errorf("help volume create: got exit code %d and %q", exit, stdout)
	}
	if exit, stdout, _ := local(t, "help", "exit-codes"); exit != exitOK || !strings.Contains(stdout, "130") {
		t.Errorf("help exit-codes: got exit code %d and %q", exit, stdout)
	}
	_, want, _ := local(t, "version")
	exit, got, _ := local(t, "--version")
	if exit != exitOK || got != want || !strings.Contains(got, "v1.2.3") || !strings.Contains(got, "Build tags") || !strings.Contains(got, "go1.") {
		t.Errorf("--version: got exit code %d and %q, want what version says: %q", exit, got, want)
	}
}

func TestTheNewestEventsAreListed(t *testing.T) {
	d := startDaemon(t)
	for n := range 4 {
		query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", fmt.Sprint("v", n))
	}
	all := query[[]plugin.Event](t, d, exitOK, "event", "list")
	got := query[[]plugin.Event](t, d, exitOK, "event", "list", "--limit", "2")
	if len(all) < 4 || len(got) != 2 || got[0].ID != all[len(all)-2].ID || got[1].ID != all[len(all)-1].ID {
		t.Errorf("got %+v, want the last two of %+v", got, all)
	}
	c, err := api.NewClient(d.server, api.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	page, err := c.Events(t.Context(), api.EventsRequest{Limit: 2})
	if err != nil || len(page) != 2 || page[0].ID != all[0].ID {
		t.Errorf("a page: got %+v, %v; want the first two", page, err)
	}
}

func TestListsAreSorted(t *testing.T) {
	d := startDaemon(t)
	for n, size := range []string{"3MiB", "1MiB", "2MiB"} {
		query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", fmt.Sprint("v", n), "--size", size)
	}
	for order, want := range map[string]string{"size": "v1 v2 v0", "-size": "v0 v2 v1", "volume": "v0 v1 v2"} {
		got := each(query[[]plugin.VolumeView](t, d, exitOK, "volume", "list", "--sort", order), func(v plugin.VolumeView) string { return string(v.Volume) })
		if strings.Join(got, " ") != want {
			t.Errorf("--sort %s: got %q, want %s", order, got, want)
		}
	}
	for _, args := range [][]string{{"entry", "list", "--sort", "-used"}, {"backend", "list", "--sort", "held"}, {"report", "--sort", "-saved"}} {
		if exit, _, stderr := d.run(t, args...); exit != exitOK {
			t.Errorf("%q: got exit code %d, %s", args, exit, stderr)
		}
	}
}

func TestCompletionOffersWhatFits(t *testing.T) {
	d := startDaemon(t)
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"volume", "create", "x", "--backend", ""}, "local\tfile\n:4\n"},
		{[]string{"entry", "list", "--backend", ""}, "local\tfile\nfiles\tfilecache\n:4\n"},
		{[]string{"volume", "create", ""}, "library:disk.raw\n:4\n"},
		{[]string{"volume", "list", "--sort", ""}, "volume\nbackend\nsize\nimage\n:4\n"},
		{[]string{"report", "--by", ""}, "backend\nimage\nhost\nproject\n:4\n"},
		{[]string{"volume", "delete", ""}, "v1\n:4\n"},
	} {
		args := append([]string{"__complete", "--server", d.server}, c.args...)
		if exit, stdout, _ := local(t, args...); exit != exitOK || stdout != c.want {
			t.Errorf("%q: got exit code %d and %q, want %q", c.args, exit, stdout, c.want)
		}
	}
}
