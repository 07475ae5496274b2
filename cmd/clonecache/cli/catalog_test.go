package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

func TestCatalogMigrateMakesTheSchemaWhileNoDaemonRuns(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "clonecache.toml")
	text := "state_dir = \"" + dir + "/state\"\n" + `[[backend]]
name = "b"
kind = "file"
path = "` + dir + `/volumes"
[[image_source]]
name = "library"
kind = "directory"
path = "` + dir + `/images"
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	migrate := func(from int64) {
		t.Helper()
		exit, stdout, stderr := local(t, "catalog", "migrate", "--config", file, "-o", "json")
		var got migrated
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || exit != exitOK {
			t.Fatalf("got exit code %d, %q, %q, %v", exit, stdout, stderr, err)
		}
		if got.FromVersion != from || got.ToVersion < 8 || got.URL != catalog.InDir(dir+"/state") {
			t.Errorf("got %+v, want from version %d", got, from)
		}
	}
	migrate(0)
	c, err := catalog.Open(t.Context(), catalog.Config{Access: catalog.Access{URL: catalog.InDir(dir + "/state")}})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if exit, stdout, _ := local(t, "catalog", "migrate", "--config", file); exit != exitOK || !strings.Contains(stdout, "is up to date") {
		t.Errorf("again: got exit code %d and %q", exit, stdout)
	}
	lock, err := plugin.LockState(dir + "/state")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	if exit, _, stderr := local(t, "catalog", "migrate", "--config", file); exit != exitLater || !strings.Contains(stderr, "state directory") {
		t.Errorf("beside a daemon: got exit code %d and %q, want %d", exit, stderr, exitLater)
	}
}

func TestCatalogCopySaysWhatItCannotDo(t *testing.T) {
	dir := t.TempDir()
	url := func(name string) string { return catalog.FileURL(filepath.Join(dir, name)) }
	c, err := catalog.Open(t.Context(), catalog.Config{Access: catalog.Access{URL: url("old")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identify(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	exit, stdout, stderr := local(t, "catalog", "copy", "--from", url("old"), "--to", url("new"), "-o", "json")
	var got copied
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || exit != exitOK || got.Rows["identity"] != 1 || got.To != url("new") {
		t.Errorf("got exit code %d, %q, %q, %v", exit, stdout, stderr, err)
	}
	const nobody = "mysql://clonecache@127.0.0.1:1/clonecache" // no server listens at port 1
	for _, test := range []struct {
		name, from, to string
		exit           int
		says           string
	}{
		{"no URL", "", url("x"), exitUsage, "--from"},
		{"a path", url("old"), filepath.Join(dir, "x"), exitUsage, "not a URL"},
		{"a password", url("old"), "mysql://u:pw@db/x", exitUsage, "password_file"},
		{"no such file", url("absent"), url("x"), exitNotFound, "no such file"},
		{"not empty", url("old"), url("new"), exitConflict, "not empty"},
		{"no server", nobody, url("x"), exitLater, "connection refused"},
	} {
		exit, _, stderr := local(t, "catalog", "copy", "--from", test.from, "--to", test.to)
		if exit != test.exit || !strings.Contains(stderr, test.says) || strings.Contains(stderr, "pw@") {
			t.Errorf("%s: got exit code %d and %q, want %d and %q", test.name, exit, stderr, test.exit, test.says)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
		t.Error("a target is left of copies that failed")
	}
}
