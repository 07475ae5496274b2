package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// A daemon that is asked to stop while it fills ends in order within its limit and leaves nothing.
func TestStoppedInTheMiddleOfAFill(t *testing.T) {
	c, web := withWeb(t, harness.Config{StopTimeout: "1s"})
	disk := webImage(t, web, "half.raw", 8*mib)
	d := cloning(t, c)
	reached, release := web.HoldAt(t, "half.raw", 4*mib)
	p := begin(t, d, "web:half.raw", "v")
	<-reached
	if code := d.Stop(t); code != 0 {
		t.Errorf("exit code: got %d, want 0", code)
	}
	p.wait()
	release()
	if p.err == nil && p.answer.Outcome != plugin.Bypassed {
		t.Errorf("the request: got %+v, want an error or bypassed", p.answer)
	}
	for _, f := range harness.Files(t, d.Config.Volumes) {
		if f.Bytes >= mib {
			t.Errorf("left over while stopped: %s with %d bytes", f.Path, f.Bytes)
		}
	}
	d.Start(t)
	d.Consistent(t)
	got := d.Create(t, harness.Volume{Image: "web:half.raw", Name: "v"})
	harness.SameContent(t, got.Path, disk, 8*mib)
}

// A stop waits for a fill that ends in time.
func TestAStopLetsAFillEnd(t *testing.T) {
	c, web := withWeb(t, harness.Config{StopTimeout: "60s"})
	disk := webImage(t, web, "half.raw", 8*mib)
	d := cloning(t, c)
	reached, release := web.HoldAt(t, "half.raw", 4*mib)
	p := begin(t, d, "web:half.raw", "v")
	<-reached
	d.Terminate()
	harness.Until(t, "the daemon takes no more requests", func() bool {
		// of an image that is not there: one that is would be waited for
		r := d.CLI(t, "volume", "create", "web:absent.raw", "--name", "late")
		return strings.Contains(r.Stdout, string(plugin.ReasonStopping))
	})
	release()
	p.wait()
	<-d.Ended()
	if code := d.ExitCode(); code != 0 {
		t.Errorf("exit code: got %d, want 0", code)
	}
	if p.err != nil {
		t.Fatalf("the request that was under way: %v", p.err)
	}
	harness.SameContent(t, p.answer.Path, disk, 8*mib)
	d.Start(t)
	d.Consistent(t)
}

// Two daemons never share a state directory, a backend's directory or a socket.
func TestASecondDaemonIsRefused(t *testing.T) {
	needDaemon(t)
	d := harness.Start(t, harness.Config{})
	config := read(t, filepath.Join(d.Dir, "clonecache.toml"))
	for _, c := range []struct {
		name    string
		changes []string // old and new, in pairs
		want    string
	}{
		{"the same socket", []string{d.State, d.State + "2"}, "another daemon listens there"},
		{"the same backend", []string{d.Server, d.Server + "2", d.State, d.State + "2"}, d.Config.Volumes},
		{"the same state", []string{d.Server, d.Server + "2", d.Config.Volumes, d.Config.Volumes + "2", d.Config.Cache, d.Config.Cache + "2"}, "in use by another process"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "second.toml")
			if err := os.WriteFile(file, []byte(strings.NewReplacer(c.changes...).Replace(config)), 0o644); err != nil {
				t.Fatal(err)
			}
			r := harness.Run(t, "serve", "--config", file)
			if r.Exit == 0 || !strings.Contains(r.Stderr, c.want) {
				t.Errorf("got exit %d, %q; want a refusal that names %q", r.Exit, r.Stderr, c.want)
			}
		})
	}
	if got := d.Status(t); !got.Ready {
		t.Error("the first daemon is not ready any more")
	}
}

// A socket that a killed daemon left is replaced.
func TestAStaleSocketIsReplaced(t *testing.T) {
	needDaemon(t)
	d := harness.Start(t, harness.Config{})
	d.Kill()
	if _, err := os.Stat(strings.TrimPrefix(d.Server, "unix://")); err != nil {
		t.Fatalf("the socket after the kill: %v", err)
	}
	d.Start(t)
	if got := d.Status(t); !got.Ready {
		t.Error("not ready")
	}
}

// A lost catalog is rebuilt from what the image-volumes say of themselves.
func TestALostCatalogIsRebuilt(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(t *testing.T, state string)
	}{
		{"removed", func(t *testing.T, state string) {
			for _, f := range catalogFiles(t, state) {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"overwritten", func(t *testing.T, state string) {
			for _, f := range catalogFiles(t, state) {
				if err := os.WriteFile(f, []byte(strings.Repeat("no database ", 4096)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) { checkRebuilt(t, c.lose) })
	}
}

func checkRebuilt(t *testing.T, lose func(t *testing.T, state string)) {
	config, web := withWeb(t, harness.Config{})
	disk := webImage(t, web, "image.raw", imageSize)
	d := cloning(t, config)
	d.Create(t, harness.Volume{Image: "web:image.raw", Name: "before"})
	entry := d.Entries(t)[0]
	d.Kill()
	lose(t, d.State)

	d.Start(t)
	if got := d.Check(t, "--repair"); !got.OK {
		t.Errorf("check --repair: %+v", got.Problems)
	}
	entries := d.Entries(t)
	if len(entries) != 1 || entries[0].ID != entry.ID || entries[0].Digest != entry.Digest || entries[0].State != "ready" {
		t.Fatalf("entries: got %+v, want %+v", entries, entry)
	}
	got := d.Create(t, harness.Volume{Image: "web:image.raw", Name: "after"})
	if got.Outcome != plugin.Hit || web.Gets("image.raw") != 1 {
		t.Errorf("got %s after %d downloads, want a hit and 1", got.Outcome, web.Gets("image.raw"))
	}
	harness.SameContent(t, got.Path, disk, imageSize)
	if got := len(d.Volumes(t)); got != 2 {
		t.Errorf("volumes: got %d, want 2", got)
	}
	d.Consistent(t)
}

// catalogFiles are the database's files in the state directory. The catalog's ID beside them is none: it is kept
// for the day on which they are lost.
func catalogFiles(t *testing.T, state string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(state, "catalog.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("catalog files in %s: got %q, %v", state, files, err)
	}
	return files
}

// What an operator and a monitor look at is served beside the API.
func TestHealthMetricsAndDescription(t *testing.T) {
	d := cloning(t, harness.Config{})
	ref, _ := addImage(t, d, 1)
	d.Create(t, harness.Volume{Image: ref, Name: "v"})
	for _, c := range []struct{ path, want string }{
		{"/healthz", ""},
		{"/readyz", ""},
		{"/metrics", `clonecache_requests_total`},
		{"/metrics", `outcome="filled"`},
		{"/v1/openapi.json", `/v1/backends/{backend}/volumes`},
	} {
		code, body := d.Get(t, c.path)
		if code != http.StatusOK || !strings.Contains(body, c.want) {
			t.Errorf("GET %s: got %d, want 200 and %q in it:\n%.2000s", c.path, code, c.want, body)
		}
	}
}

// A source that redirects to another host is not followed.
func TestARedirectToAnotherHostIsRefused(t *testing.T) {
	needDaemon(t)
	hits := 0
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { hits++ }))
	defer other.Close()
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	source := httptest.NewServer(http.RedirectHandler(elsewhere+"/image.raw", http.StatusFound))
	defer source.Close()
	d := harness.Start(t, harness.Config{Web: map[string]string{"web": source.URL}})
	exit, _, failed := d.TryCreate(t, harness.Volume{Image: "web:image.raw", Name: "v"})
	if exit == 0 || failed.Code == "" || hits != 0 {
		t.Errorf("got exit %d, code %q, %d requests to the other host; want a refusal and 0", exit, failed.Code, hits)
	}
}
