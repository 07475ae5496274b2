package daemon

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// TestEveryKindCanBeOpened: what the configuration accepts is what is wired here.
func TestEveryKindCanBeOpened(t *testing.T) {
	backends, sources, tenants := config.Kinds()
	if rbd.Missing != "" { // it can be opened, and says why not
		backends = append(backends, "rbd")
	}
	for _, c := range []struct {
		name      string
		got, want []string
	}{
		{"backends", slices.Sorted(maps.Keys(openBackend)), backends},
		{"image sources", slices.Sorted(maps.Keys(openSource)), sources},
		{"internal tenants", slices.Sorted(maps.Keys(openTenant)), tenants},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %v can be opened, %v are accepted", c.name, c.got, c.want)
		}
	}
}

// parse reads a configuration below a directory that is short enough for a socket.
func parse(t *testing.T, text string) (cfg config.Config, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg, err = config.Parse([]byte(text), filepath.Join(dir, "c.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg, dir
}

const one = `
state_dir = "state"
listen = ["unix://s"]
[[image_source]]
name = "library"
kind = "directory"
path = "images"
[[backend]]
name = "local"
kind = "file"
path = "volumes"
`

func TestTheWatchdogIsFed(t *testing.T) {
	cfg, _ := parse(t, one)
	states := make(chan string, 64)
	ctx, stop := context.WithCancel(t.Context())
	log, _ := test.NewNullLogger()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, cfg, Options{Log: log, Watchdog: time.Millisecond, Notify: func(s string) {
			select {
			case states <- s:
			default:
			}
		}})
	}()
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := <-states; got != want {
			t.Errorf("got state %q, want %q", got, want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnOpenThatFailsLeavesNothingOpen(t *testing.T) {
	cfg, dir := parse(t, one+"[[file_cache]]\nname = \"files\"\npath = \"files\"\n")
	if err := os.WriteFile(filepath.Join(dir, "files"), []byte("a file, not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, hook := test.NewNullLogger()
	if err := Run(t.Context(), cfg, Options{Log: log}); err == nil || !strings.Contains(err.Error(), "files") {
		t.Errorf("got %v, want an error that names the file cache", err)
	}
	if last := hook.LastEntry(); last == nil || last.Message != "stopped" {
		t.Errorf("the server was not stopped: %v", last)
	}
	if err := os.Remove(filepath.Join(dir, "files")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready := func(state string) {
		if state == "READY=1" {
			stop()
		}
	}
	if err := Run(ctx, cfg, Options{Log: log, Notify: ready}); err != nil {
		t.Errorf("the next start: %v", err)
	}
}

// The server listens before there is a cache, and says so.
func TestTheServerSaysStartingBeforeThereIsACache(t *testing.T) {
	cfg, _ := parse(t, one)
	log, _ := test.NewNullLogger()
	server, err := api.NewServer(api.ServerConfig{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := api.Listen(t.Context(), addresses(cfg), listenConfig(cfg))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listeners) }()
	client, err := api.NewClient(addresses(cfg)[0], api.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Ready(t.Context()); err == nil || api.Explain(err).Code != "starting" {
		t.Errorf("got %v, want code starting", err)
	}
	d := &running{Options: Options{Log: log}, cfg: cfg, server: server, served: served}
	if err := d.shutdown(); err != nil {
		t.Error(err)
	}
}

func TestLogSaysWhatABackendCan(t *testing.T) {
	for _, c := range []struct {
		name  string
		c     config.Backend
		info  backends.Info
		level logrus.Level
		part  string
	}{
		{"clones", config.Backend{Name: "b"}, backends.Info{CanClone: true, CloneMethod: "reflink"}, logrus.InfoLevel, "volumes are clones"},
		{"copies", config.Backend{Name: "b", Fallback: "files"}, backends.Info{NoClone: "no reflinks"}, logrus.WarnLevel, "file cache files"},
		{"nothing", config.Backend{Name: "b"}, backends.Info{NoClone: "no reflinks"}, logrus.WarnLevel, "every request is bypassed"},
	} {
		log, hook := test.NewNullLogger()
		logBackend(log, c.c, c.info)
		if e := hook.LastEntry(); e == nil || e.Level != c.level || !strings.Contains(e.Message, c.part) {
			t.Errorf("%s: got %+v, want %v with %q", c.name, e, c.level, c.part)
		}
	}
}

func TestTryFindsWhatIsGood(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	cfg, dir := parse(t, one+"[[file_cache]]\nname = \"files\"\npath = \"files\"\n[[image_source]]\nname = \"web\"\nkind = \"http\"\nurl = \""+web.URL+"/images\"\n")
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	trial := Try(t.Context(), cfg)
	if len(trial.Problems) > 0 {
		t.Errorf("got problems %v, want none", trial.Problems)
	}
	facts := strings.Join(trial.Facts, "\n")
	for _, part := range []string{"backend local: ", "reflinks", "file cache files: ", "has 0 files", "answers (404"} {
		if !strings.Contains(facts, part) {
			t.Errorf("facts do not say %q:\n%s", part, facts)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("got %v, %v: want nothing left beside images", left, err)
	}
}

func TestTryFindsWhatIsWrong(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	cfg, dir := parse(t, strings.Replace(one, "[[image", "socket_group = \"no-such-group\"\ntoken_file = \"token\"\n[tls]\ncert_file = \"cert\"\nkey_file = \"key\"\n[[image", 1)+
		"[[image_source]]\nname = \"web\"\nkind = \"http\"\nurl = \""+dead.URL+"\"\n")
	for name, mode := range map[string]os.FileMode{"volumes": 0o600, "token": 0o644, "cert": 0o644, "key": 0o600} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("no directory, no PEM"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for _, p := range Try(t.Context(), cfg).Problems {
		keys = append(keys, p.Key)
	}
	want := []string{"socket_group", "token_file", "tls", "backend[0].path", "image_source[0].path", "image_source[1].url"}
	if !slices.Equal(keys, want) {
		t.Errorf("got problems with %q, want %q", keys, want)
	}
}

func TestTrySeesADaemonThatRuns(t *testing.T) {
	cfg, dir := parse(t, one)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if facts := strings.Join(Try(t.Context(), cfg).Facts, "\n"); !strings.Contains(facts, "listens") {
		t.Errorf("facts do not say that a daemon listens:\n%s", facts)
	}
}

// A second daemon on one state_dir touches nothing, whatever else its configuration names.
func TestASecondDaemonMakesNothing(t *testing.T) {
	cfg, dir := parse(t, one)
	lock, err := plugin.LockState(string(cfg.StateDir))
	if err != nil {
		t.Fatal(err)
	}
	log, _ := test.NewNullLogger()
	if err := Run(t.Context(), cfg, Options{Log: log}); !errors.Is(err, plugin.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	for _, name := range []string{"volumes", "s"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want none", name, err)
		}
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
}
