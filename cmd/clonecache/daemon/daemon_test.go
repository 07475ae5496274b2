package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// parse reads a configuration below a directory that is short enough for a socket.
func parse(t *testing.T, text string) (cfg config.Config, dir string) {
	t.Helper()
	return parseWith(t, kinds.All(), text)
}

func parseWith(t *testing.T, registry kinds.Registry, text string) (cfg config.Config, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg, err = registry.Parse([]byte(text), filepath.Join(dir, "c.toml"))
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

// served is a daemon in this process, as clients see it.
type served struct {
	*api.Client
	ended chan error
	stop  context.CancelFunc
	log   *test.Hook
}

// run runs a daemon until the test ends.
func run(t *testing.T, cfg config.Config) *served {
	t.Helper()
	return runWith(t, cfg, Options{})
}

// runWith is run with some options; the log and who is told of its state are the test's own.
func runWith(t *testing.T, cfg config.Config, o Options) *served {
	t.Helper()
	log, hook := test.NewNullLogger()
	ctx, stop := context.WithCancel(context.Background())
	d := &served{ended: make(chan error, 1), stop: stop, log: hook}
	ready := make(chan struct{})
	o.Log, o.Notify = log, func(state string) {
		if state == "READY=1" {
			close(ready)
		}
	}
	go func() { d.ended <- Run(ctx, cfg, o) }()
	t.Cleanup(func() {
		stop()
		if err := <-d.ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-d.ended:
		d.ended <- nil
		t.Fatalf("it did not start: %v", err)
	}
	var err error
	if d.Client, err = api.NewClient(addresses(cfg.Listen)[0], api.ClientConfig{}); err != nil {
		t.Fatal(err)
	}
	return d
}

const two = one + `fallback = "files"
[[backend]]
name = "other"
kind = "file"
path = "other"
[[file_cache]]
name = "files"
path = "files"
`

// One backend that cannot be opened, or a file cache, is down with its reason while the others serve, and comes
// back by itself once it can be opened.
func TestWhatCannotBeOpenedIsDownWhileTheOthersServe(t *testing.T) {
	cfg, dir := parse(t, two)
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "images/a.raw"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"volumes", "files"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("a file, not a directory"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := run(t, cfg)
	views, err := d.Backends(t.Context())
	if err != nil || len(views) != 3 {
		t.Fatalf("got %+v, %v", views, err)
	}
	for i, up := range []bool{false, true, false} {
		if v := views[i]; v.Available != up || strings.Contains(v.Error, "not a directory") == up {
			t.Errorf("%s: got available %v, error %q, want %v", v.Name, v.Available, v.Error, up)
		}
	}
	request := api.CreateRequest{Backend: "local", Image: "library:a.raw", Volume: "v1"}
	got, err := d.CreateVolume(t.Context(), request, nil)
	if err != nil || got.Outcome != plugin.Bypassed || got.Reason != plugin.ReasonUnavailable || !strings.Contains(got.Detail, "not a directory") {
		t.Errorf("on one that is down: got %+v, %v", got, err)
	}
	request.Backend = "other"
	if got, err := d.CreateVolume(t.Context(), request, nil); err != nil || got.Outcome == plugin.Bypassed && got.Reason == plugin.ReasonUnavailable {
		t.Errorf("on another one: got %+v, %v", got, err)
	}
	events, err := d.Events(t.Context(), api.EventsRequest{Kinds: []plugin.EventKind{plugin.EventUnreachable}})
	if err != nil || len(events) != 2 {
		t.Errorf("events: got %+v, %v; want one of each that is down", events, err)
	}
	wantLogged(t, d.log, "it cannot be opened and is down", "give another path, or move it away")

	for _, name := range []string{"volumes", "files"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are up", func() bool {
		views, err := d.Backends(t.Context())
		return err == nil && views[0].Available && views[2].Available
	})
	request.Backend = "local"
	if got, err := d.CreateVolume(t.Context(), request, nil); err != nil || got.Outcome == plugin.Bypassed && got.Reason == plugin.ReasonUnavailable {
		t.Errorf("once it is up: got %+v, %v", got, err)
	}
}

// wantLogged wants an error with that message and remedy.
func wantLogged(t *testing.T, log *test.Hook, message, remedy string) {
	t.Helper()
	for _, e := range log.AllEntries() {
		if e.Level == logrus.ErrorLevel && strings.Contains(e.Message, message) && e.Data["remedy"] == remedy {
			return
		}
	}
	t.Errorf("%q with remedy %q was not logged", message, remedy)
}

// eventually waits for what is tried again after a second at the earliest.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(2 * time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it did not come about that %s", what)
		}
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
	listeners, err := api.Listen(t.Context(), addresses(cfg.Listen), listenConfig(cfg))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listeners) }()
	client, err := api.NewClient(addresses(cfg.Listen)[0], api.ClientConfig{})
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
