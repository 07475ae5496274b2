package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// What happened is told in its order, and each thing once, also by a daemon that was killed right after
// it had answered.
func TestEventsOutliveAKill(t *testing.T) {
	d := cloning(t, harness.Config{MaxVolumes: 1, KeepForQuota: true, CacheMaxCount: 1})
	first, _ := addImage(t, d, 1)
	second, _ := addImage(t, d, 2)
	third, _ := addImage(t, d, 3)
	d.Create(t, harness.Volume{Image: first, Name: "a"})
	d.Create(t, harness.Volume{Image: first, Name: "b"})
	d.Create(t, harness.Volume{Image: second, Name: "c"})
	made := d.Create(t, harness.Volume{Image: third, Name: "d"})
	if made.Outcome != plugin.Copied {
		t.Errorf("over the quota: got %s, want copied", made.Outcome)
	}
	for _, e := range d.Entries(t) {
		if e.Backend != "local" {
			continue
		}
		if r := d.CLI(t, "entry", "delete", e.ID); r.Exit != 0 {
			t.Fatalf("delete: exit %d\n%s", r.Exit, r.Stderr)
		}
	}
	d.Events(t) // so that what is no request is written: a kill in the moment before loses that
	d.Kill()
	d.Start(t)
	d.Create(t, harness.Volume{Image: first, Name: "e"})
	want := []string{
		"started",
		"local: filled", "local: miss miss a", "local: hit ready b",
		"local: fill_failed over_quota", "files: filled", "local: copied over_quota c",
		"local: fill_failed over_quota", "files: evicted count", "files: filled", "local: copied over_quota d",
		"local: deleted admin",
		"acted",
		"started",
		"local: filled", "local: miss miss e",
	}
	wantEvents(t, d, want)

	d.Create(t, harness.Volume{Image: first, Name: "f"})
	d.Create(t, harness.Volume{Image: first, Name: "g"})
	d.Kill()
	d.Start(t)
	want = append(want, "local: hit ready f", "local: hit ready g", "started")
	wantEvents(t, d, want)
	d.Restart(t)
	wantEvents(t, d, append(want, "stopped", "started"))
	d.Consistent(t)
}

// wantEvents compares all events that the daemon lists.
func wantEvents(t *testing.T, d *harness.Daemon, want []string) {
	t.Helper()
	var got []string
	for _, e := range d.Events(t) {
		got = append(got, inShort(e))
	}
	if !slices.Equal(got, want) {
		t.Errorf("events: got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// inShort is an event as "backend: kind reason volume".
func inShort(e plugin.Event) string {
	s := strings.TrimSpace(strings.Join([]string{string(e.Kind), string(e.Reason), string(e.Volume)}, " "))
	if e.Backend != "" {
		s = string(e.Backend) + ": " + s
	}
	return s
}

// Who follows is told of what there was and of what comes, until the daemon stops.
func TestEventsAreFollowed(t *testing.T) {
	d := cloning(t, harness.Config{})
	ref, _ := addImage(t, d, 1)
	d.Create(t, harness.Volume{Image: ref, Name: "before"})
	follower := exec.CommandContext(t.Context(), harness.Binary(t), "event", "list", "--follow", "--kind", "miss,hit,stopped", "-o", "json")
	follower.Env = append(os.Environ(), "CLONECACHE_SERVER="+d.Server)
	out, err := follower.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(out)
	next := func(want string) {
		t.Helper()
		var e plugin.Event
		if err := lines.Decode(&e); err != nil || inShort(e) != want {
			t.Errorf("got %+v, %v, want %s", e, err, want)
		}
	}
	next("local: miss miss before")
	for n := range 3 {
		name := fmt.Sprintf("v%d", n)
		d.Create(t, harness.Volume{Image: ref, Name: name})
		next("local: hit ready " + name)
	}
	if code := d.Stop(t); code != 0 {
		t.Errorf("the daemon's exit code: got %d, want 0", code)
	}
	next("stopped")
	var last struct{ Error api.Error }
	if err := lines.Decode(&last); err != nil || last.Error.Code != "stopping" {
		t.Errorf("at the end: got %+v, %v, want stopping", last, err)
	}
	_ = follower.Wait() // how it ended is in ProcessState
	if code := follower.ProcessState.ExitCode(); code != 9 {
		t.Errorf("the follower's exit code: got %d, want 9", code)
	}
}

// The table for people has a line each, and a limit leaves the newest.
func TestEventsAsATable(t *testing.T) {
	d := cloning(t, harness.Config{})
	ref, _ := addImage(t, d, 1)
	d.Create(t, harness.Volume{Image: ref, Name: "v"})
	for _, c := range []struct {
		limit string
		kinds []string
	}{{"0", []string{"filled", "miss"}}, {"1", []string{"miss"}}} {
		r := d.CLI(t, "event", "list", "--since", "1h", "--backend", "local", "--limit", c.limit)
		var kinds []string
		for _, line := range strings.Split(strings.TrimSpace(r.Stdout), "\n")[1:] {
			kinds = append(kinds, strings.Fields(line)[3])
		}
		if r.Exit != 0 || !slices.Equal(kinds, c.kinds) {
			t.Errorf("limit %s: got exit %d\n%s%s\nwant a head and a line each of %q", c.limit, r.Exit, r.Stdout, r.Stderr, c.kinds)
		}
	}
	if r := d.CLI(t, "event", "list", "--kind", "explosion"); r.Exit != 2 {
		t.Errorf("a kind that there is not: got exit %d, want 2", r.Exit)
	}
}
