package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/daemon"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// stores is a configuration with one backend and one file cache in a directory.
func stores(dir, images, backend string) string {
	return fmt.Sprintf(`
[[image_source]]
name = "library"
kind = "directory"
path = %q
[[backend]]
name = %q
kind = "file"
path = %q
fallback = "files"
[[file_cache]]
name = "files"
path = %q
`, images, backend, filepath.Join(dir, "volumes"), filepath.Join(dir, "cache"))
}

func configOf(d *harness.Daemon) string { return filepath.Join(d.Dir, "clonecache.toml") }

// problems are what "config check" finds, by their keys.
func problems(t *testing.T, d *harness.Daemon) map[string]config.Problem {
	t.Helper()
	r := harness.Run(t, "config", "check", configOf(d), "-o", "json")
	var got struct{ Problems []config.Problem }
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		t.Fatalf("%v\n%s%s", err, r.Stdout, r.Stderr)
	}
	want := map[bool]int{true: 0, false: 8}[len(got.Problems) == 0]
	if r.Exit != want {
		t.Errorf("config check: got exit code %d with %d problems", r.Exit, len(got.Problems))
	}
	byKey := make(map[string]config.Problem)
	for _, p := range got.Problems {
		byKey[p.Key] = p
	}
	return byKey
}

// wantHeld wants an installation refused on stores that are another one's, by a check and by a start.
func wantHeld(t *testing.T, d *harness.Daemon, by string) {
	t.Helper()
	found := problems(t, d)
	for key, name := range map[string]string{"backend[0].path": "local", "file_cache[0].path": "files"} {
		p := found[key]
		if !strings.Contains(p.What, "held by another installation") || !strings.Contains(p.What, by) || !strings.Contains(p.Remedy, "clonecache backend take-over "+name) {
			t.Errorf("config check, %s: got %q: %q", key, p.What, p.Remedy)
		}
	}
	if len(found) != 2 {
		t.Errorf("config check: got %v, want the two stores", found)
	}
	if err := d.TryStart(t); err == nil {
		t.Error("it started on another installation's stores")
	}
	log := read(t, filepath.Join(d.Dir, "log"))
	for _, part := range []string{"held by another installation", by, "clonecache backend take-over local"} {
		if !strings.Contains(log, part) {
			t.Errorf("the log of the start does not say %q:\n%s", part, log)
		}
	}
}

// Of two installations on one store the second is refused, until somebody takes the store over for it; from then on
// the first one is.
func TestAStoreIsTakenOver(t *testing.T) {
	dir := filesystem(t, "xfs")
	first := harness.New(t, harness.Config{})
	first.Config.Tables = stores(dir, first.Config.Images, "local")
	first.Reconfigure(t)
	first.Start(t)
	image, disk := addImage(t, first, 1)
	first.Create(t, harness.Volume{Image: image, Name: "v1"})
	second := harness.New(t, harness.Config{Tables: first.Config.Tables})
	if p := problems(t, second)["backend[0].path"]; !strings.Contains(p.What, "another clonecache uses") {
		t.Errorf("while the first one runs: got %+v", p)
	}
	if got := harness.Run(t, "backend", "take-over", "local", "--config", configOf(second)); got.Exit != 7 {
		t.Errorf("take-over while the first one runs: got exit code %d\n%s", got.Exit, got.Stderr)
	}
	first.Stop(t)
	wantHeld(t, second, first.State)
	if got := harness.Run(t, "backend", "take-over", "none", "--config", configOf(second)); got.Exit != 6 || !strings.Contains(got.Stderr, "none") {
		t.Errorf("take-over of no store: got exit code %d\n%s", got.Exit, got.Stderr)
	}
	for _, name := range []string{"local", "files"} {
		r := harness.Run(t, "backend", "take-over", name, "--config", configOf(second), "-o", "json")
		var taken daemon.TakenOver
		if err := json.Unmarshal([]byte(r.Stdout), &taken); err != nil || r.Exit != 0 || taken.Was == nil || taken.Was.StateDir != first.State || taken.Holder.StateDir != second.State {
			t.Errorf("take-over %s: got exit code %d, %v\n%s%s", name, r.Exit, err, r.Stdout, r.Stderr)
		}
	}
	if found := problems(t, second); len(found) > 0 {
		t.Errorf("config check after the take-over: got %v", found)
	}
	second.Start(t)
	if got := harness.Run(t, "backend", "take-over", "local", "--config", configOf(second)); got.Exit != 9 {
		t.Errorf("take-over of a daemon's that runs: got exit code %d\n%s", got.Exit, got.Stderr)
	}
	if got := second.Create(t, harness.Volume{Image: image, Name: "v2"}); got.Outcome != plugin.Hit {
		t.Errorf("what the first one had cached: got %+v, want a hit", got)
	}
	harness.SameContent(t, filepath.Join(dir, "volumes", "v1"), disk, imageSize)
	second.Consistent(t)
	second.Stop(t)
	wantHeld(t, first, second.State)
}

// A backend's name is a label: under another one it has the same entries, pins, claims and hits, and hits at once.
func TestARenamedBackendKeepsWhatItHas(t *testing.T) {
	dir := filesystem(t, "xfs")
	d := harness.New(t, harness.Config{})
	rename := func(name string) {
		d.Config.Tables = stores(dir, d.Config.Images, name)
		d.Reconfigure(t)
		d.Start(t)
	}
	rename("local")
	image, _ := addImage(t, d, 1)
	for _, name := range []string{"v1", "v2"} {
		d.Create(t, harness.Volume{Image: image, Name: name})
	}
	before, quota := d.Entries(t), d.Quota(t)
	if r := d.CLI(t, "entry", "pin", before[0].ID); r.Exit != 0 {
		t.Fatalf("pin: %+v", r)
	}
	d.Stop(t)
	rename("fast")
	after := d.Entries(t)
	if len(after) != 1 {
		t.Fatalf("got entries %+v", after)
	}
	got, want := after[0], before[0]
	if got.ID != want.ID || got.Backend != "fast" || got.StoreID != want.StoreID || !got.Configured || !got.Pinned || got.Hits != want.Hits || got.HeldBytes != want.HeldBytes {
		t.Errorf("got  %+v\nwant %+v, pinned, of backend fast", got, want)
	}
	if now := d.Quota(t); now.Volumes.InUse != quota.Volumes.InUse || now.Gigabytes.InUse != quota.Gigabytes.InUse {
		t.Errorf("claims: got %+v, want %+v", now, quota)
	}
	if got := d.Create(t, harness.Volume{Image: image, Name: "v3", Flags: []string{"--backend", "fast"}}); got.Outcome != plugin.Hit {
		t.Errorf("got %+v, want a hit", got)
	}
	if r := d.CLI(t, "volume", "create", image, "--name", "v4", "--backend", "local"); r.Exit != 6 {
		t.Errorf("the former name still serves: %+v", r)
	}
	if wrong := harness.Wrong(d.Check(t, "--deep")); len(wrong) > 0 {
		t.Errorf("check: got %+v", wrong)
	}
}

// Entries of a backend that was taken out are shown as such, and can be deleted.
func TestEntriesOfABackendThatWasTakenOut(t *testing.T) {
	dir := filesystem(t, "xfs")
	d := harness.New(t, harness.Config{})
	d.Config.Tables = stores(dir, d.Config.Images, "local")
	d.Reconfigure(t)
	d.Start(t)
	image, _ := addImage(t, d, 1)
	d.Create(t, harness.Volume{Image: image, Name: "v1"})
	d.Stop(t)
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Config.Tables = stores(other, d.Config.Images, "other")
	d.Reconfigure(t)
	d.Start(t)
	entries := d.Entries(t)
	if len(entries) != 1 || entries[0].Configured || entries[0].Backend != "local" {
		t.Fatalf("got %+v, want the entry of a backend that is not configured", entries)
	}
	if r := d.CLI(t, "entry", "list"); !strings.Contains(r.Stdout, "not configured") {
		t.Errorf("entry list:\n%s", r.Stdout)
	}
	if found := d.Check(t).Problems; len(found) != 1 || found[0].Kind != "not-configured" {
		t.Errorf("check: got %+v", found)
	}
	if r := d.CLI(t, "entry", "delete", entries[0].ID); r.Exit != 0 {
		t.Errorf("delete: %+v", r)
	}
	if entries := d.Entries(t); len(entries) > 0 {
		t.Errorf("after it was deleted: got %+v", entries)
	}
	if used := d.Quota(t).Volumes.InUse; used != 0 {
		t.Errorf("its claim: %d image-volumes are counted", used)
	}
	if _, err := os.Stat(filepath.Join(dir, "volumes", "v1")); err != nil {
		t.Errorf("its volume: %v", err)
	}
}
