package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestPrefetchWaitsUntilTheImageIsThere(t *testing.T) {
	d := startDaemon(t, "[[group]]\nname = \"all\"\nbackends = [\"local\", \"files\"]\n")
	done := query[[]plugin.QueuedView](t, d, exitOK, "prefetch", "library:disk.raw", "--group", "all", "--wait", "--pin")
	if len(done) != 2 || done[0].State != "done" || done[1].State != "done" || done[0].EntryID == "" {
		t.Fatalf("prefetch: %+v", done)
	}
	if a := query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1"); a.DownloadedBytes != 0 {
		t.Errorf("first request: %+v, want nothing downloaded", a)
	}
	for _, e := range query[[]plugin.EntryView](t, d, exitOK, "entry", "list") {
		if !e.Pinned {
			t.Errorf("entry %s on %s is not pinned", e.ID, e.Backend)
		}
	}
	exit, stdout, stderr := d.run(t, "prefetch", "library:evil.qcow2", "library:disk.raw", "--wait")
	if exit != exitError || !strings.Contains(stdout, "library:evil.qcow2") || !strings.Contains(stdout, "failed") {
		t.Errorf("with an image that is refused: exit code %d\n%s%s", exit, stdout, stderr)
	}
}

func TestTheQueueIsShownAndChanged(t *testing.T) {
	d := startDaemon(t)
	failed := query[[]plugin.QueuedView](t, d, exitError, "prefetch", "library:evil.qcow2", "--wait")[0]
	if listed := query[[]plugin.QueuedView](t, d, exitOK, "queue", "list"); len(listed) != 1 || listed[0].ID != failed.ID || listed[0].LastError == "" {
		t.Errorf("list: %+v, want %+v", listed, failed)
	}
	if exit, stdout, _ := d.run(t, "queue", "list"); exit != exitOK || !strings.Contains(stdout, "library:evil.qcow2") {
		t.Errorf("list: %d %q", exit, stdout)
	}
	if n := query[api.QueueCount](t, d, exitOK, "queue", "retry", failed.ID); n.Images != 1 {
		t.Errorf("retry: %+v", n)
	}
	out := query[takenOut](t, d, exitOK, "queue", "delete", failed.ID[len(failed.ID)-8:])
	if len(out.Deleted) != 1 || out.Deleted[0].ID != failed.ID {
		t.Errorf("delete: %+v", out)
	}
	if n := query[api.QueueCount](t, d, exitOK, "queue", "clear"); n.Images != 0 {
		t.Errorf("clear: %+v", n)
	}
	for _, c := range []struct {
		exit int
		says string
		args []string
	}{
		{exitNotFound, "queue list", []string{"queue", "delete", failed.ID}},
		{exitUsage, "--all", []string{"queue", "retry"}},
		{exitNotFound, "[[group]]", []string{"prefetch", "library:disk.raw", "--group", "fast"}},
		{exitNotFound, "nowhere", []string{"prefetch", "library:disk.raw", "--backend", "nowhere"}},
		{exitUsage, "exclude", []string{"prefetch", "library:disk.raw", "--backend", "local", "--all"}},
		{exitUsage, "priority", []string{"prefetch", "library:disk.raw", "--priority", "1001"}},
	} {
		if exit, _, stderr := d.run(t, c.args...); exit != c.exit || !strings.Contains(stderr, c.says) {
			t.Errorf("%q: got exit code %d and %q, want %d and %q in it", c.args, exit, stderr, c.exit, c.says)
		}
	}
}

// Nobody is told that a backend is in use which its configuration keeps out of it.
func TestABackendThatIsNotEnabledInTheFile(t *testing.T) {
	d := startDaemon(t)
	file := strings.Replace(serveConfig, "name = \"local\"\n", "name = \"local\"\nenabled = false\n", 1)
	write(t, filepath.Join(d.dir, "c.toml"), []byte(file))
	query[api.Reloaded](t, d, exitOK, "reload")
	if got := query[switched](t, d, exitOK, "backend", "enable", "local"); len(got.Backends) != 0 {
		t.Errorf("got %+v, want that none is in use", got)
	}
	if exit, stdout, _ := d.run(t, "backend", "enable", "--all"); exit != exitOK || strings.Contains(stdout, "local is in use") || !strings.Contains(stdout, "enabled = false") {
		t.Errorf("got %d %q", exit, stdout)
	}
}

func TestABackendIsPutOutOfUseAndIntoIt(t *testing.T) {
	d := startDaemon(t)
	if got := query[switched](t, d, exitOK, "backend", "disable", "--all"); len(got.Backends) != 2 || !got.Disabled {
		t.Errorf("disable: %+v", got)
	}
	if a := query[plugin.Answer](t, d, exitBypassed, "volume", "create", "library:disk.raw", "--name", "v1"); a.Reason != plugin.ReasonDisabled {
		t.Errorf("a request: %+v", a)
	}
	if exit, stdout, _ := d.run(t, "backend", "list"); exit != exitOK || !strings.Contains(stdout, "disabled") {
		t.Errorf("list: %d %q", exit, stdout)
	}
	if got := query[switched](t, d, exitOK, "backend", "enable", "--all"); len(got.Backends) != 2 || got.Disabled {
		t.Errorf("enable: %+v", got)
	}
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	for _, c := range []struct {
		exit int
		args []string
	}{{exitUsage, []string{"backend", "disable"}}, {exitUsage, []string{"backend", "enable", "local", "--all"}}, {exitNotFound, []string{"backend", "disable", "absent"}}} {
		if exit, _, stderr := d.run(t, c.args...); exit != c.exit {
			t.Errorf("%q: got exit code %d, %q, want %d", c.args, exit, stderr, c.exit)
		}
	}
}

// Who waits for an image that nobody can cache now hears why, once.
func TestAWaitForABackendOutOfUseSaysSo(t *testing.T) {
	d := startDaemon(t)
	query[switched](t, d, exitOK, "backend", "disable", "local")
	said := &lockedBuffer{}
	env := testEnv(&lockedBuffer{}, said)
	env.Now = time.Now
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, env, []string{"prefetch", "library:disk.raw", "--backend", "local", "--wait", "--server", d.server})
	}()
	for !strings.Contains(said.String(), "backend enable local") && ctx.Err() == nil {
		time.Sleep(queuePoll / 10)
	}
	stop()
	if exit := <-ended; exit != exitInterrupted || strings.Count(said.String(), "is tried again") != 1 {
		t.Errorf("exit code %d, said %q", exit, said)
	}
}

// Several things that went wrong are one line of a table, without the marks of a name that has an end of line in it.
func TestReasonsAreOneLine(t *testing.T) {
	var out strings.Builder
	shown := newTable(&out, time.Now(), look{})
	showQueue(shown, []plugin.QueuedView{{ID: "0197c2f4", ImageID: "library:a", Backend: "local", State: "failed", LastError: "a does not answer\nb is full\n"}})
	showFollows(shown, []plugin.FollowView{{Source: "library", Image: "a", Error: "c is down\nd is down"}})
	if err := shown.flush(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a does not answer; b is full", "c is down; d is down"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
}

// What would be cleaned is listed with its reason, and stays.
func TestCleanSaysWhatWouldGoAndWhy(t *testing.T) {
	d := startDaemon(t)
	query[[]plugin.QueuedView](t, d, exitError, "prefetch", "library:evil.qcow2", "--wait")
	for range 2 { // the first removed nothing
		plan := query[plugin.CleanResult](t, d, exitOK, "clean", "--dry-run")
		if plan.FailedEntries != 1 || len(plan.Planned) != 1 || plan.Planned[0].Kind != "failed-fill" || plan.Planned[0].Backend != "files" ||
			!strings.Contains(plan.Planned[0].Why, "its fill failed: ") {
			t.Fatalf("plan: %+v", plan)
		}
	}
	if exit, stdout, _ := d.run(t, "clean", "--dry-run"); exit != exitOK || !strings.Contains(stdout, "1 would go; nothing was removed") {
		t.Errorf("as text: %d %s", exit, stdout)
	}
	if done := query[plugin.CleanResult](t, d, exitOK, "clean"); done.FailedEntries != 1 || len(done.Planned) != 0 {
		t.Errorf("clean: %+v", done)
	}
	if plan := query[plugin.CleanResult](t, d, exitOK, "clean", "--dry-run"); len(plan.Planned) != 0 {
		t.Errorf("afterwards: %+v, want nothing to go", plan)
	}
}
