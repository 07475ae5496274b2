package daemon

import (
	"context"
	"errors"
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
	log, hook := test.NewNullLogger()
	ctx, stop := context.WithCancel(context.Background())
	d := &served{ended: make(chan error, 1), stop: stop, log: hook}
	ready := make(chan struct{})
	go func() {
		d.ended <- Run(ctx, cfg, Options{Log: log, Notify: func(state string) {
			if state == "READY=1" {
				close(ready)
			}
		}})
	}()
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
	late := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("in 30 s it did not come about that %s", what)
		}
	}
}

// What "config check" finds, serve meets, in the same words: the store whose filesystem is not mounted, and a
// directory of images that is missing, keep nobody from the others; a port that is taken keeps it from starting.
func TestCheckAndServeSayTheSame(t *testing.T) {
	cfg, dir := parse(t, one+"[[backend]]\nname = \"other\"\nkind = \"file\"\npath = \"other\"\n")
	first := run(t, cfg) // notes which stores these are
	first.stop()
	if err := <-first.ended; err != nil {
		t.Fatal(err)
	}
	first.ended <- nil
	if err := os.RemoveAll(filepath.Join(dir, "volumes")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "volumes"), 0o755); err != nil { // as where nothing is mounted
		t.Fatal(err)
	}
	problems := Try(t.Context(), cfg).Problems
	if len(problems) != 2 || problems[0].Key != "backend[0].path" || problems[1].Key != "image_source[0].path" {
		t.Fatalf("got problems %v", problems)
	}
	d := run(t, cfg)
	views, err := d.Backends(t.Context())
	if err != nil || views[0].Available || !strings.Contains(views[0].Error, problems[0].What) || !views[1].Available {
		t.Errorf("got %+v, %v; want %q", views, err, problems[0].What)
	}
	wantLogged(t, d.log, "is down", problems[0].Remedy)
	wantLogged(t, d.log, problems[1].What, problems[1].Remedy)
}

func TestTryFindsAPortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg, dir := parse(t, "insecure_loopback = true\n"+strings.Replace(one, "unix://s", "tcp://"+l.Addr().String(), 1))
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	problems := Try(t.Context(), cfg).Problems
	if len(problems) != 1 || problems[0].Key != "listen[0]" || !strings.Contains(problems[0].What, l.Addr().String()) {
		t.Errorf("got problems %v, want the port", problems)
	}
	log, _ := test.NewNullLogger()
	if err := Run(t.Context(), cfg, Options{Log: log}); !errors.Is(err, api.ErrListening) {
		t.Errorf("serve: got %v, want %v", err, api.ErrListening)
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
	if problems := Try(t.Context(), cfg).Problems; len(problems) == 0 || problems[0].Key != "listen[0]" {
		t.Errorf("of something else that listens: got problems %v", problems)
	}
	lock, err := plugin.LockState(string(cfg.StateDir))
	if err != nil {
		t.Fatal(err)
	}
	if facts := strings.Join(Try(t.Context(), cfg).Facts, "\n"); !strings.Contains(facts, "listens") {
		t.Errorf("facts do not say that a daemon listens:\n%s", facts)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
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

// What keeps serve from a store that is another installation's is found without starting anything.
func TestCheckFindsAStoreOfAnotherInstallation(t *testing.T) {
	cfg, dir := parse(t, one)
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	first := run(t, cfg)
	other := cfg
	other.StateDir, other.ScratchDir = config.Path(filepath.Join(dir, "other")), config.Path(filepath.Join(dir, "other", "scratch"))
	other.Listen = []config.Listen{{Network: "unix", Address: filepath.Join(dir, "o")}}
	if got := Try(t.Context(), cfg).Problems; len(got) > 0 {
		t.Errorf("its own, while it runs: got %v", got)
	}
	if got := Try(t.Context(), other).Problems; len(got) != 1 || got[0].Key != "backend[0].path" || !strings.Contains(got[0].What, "another clonecache uses") {
		t.Errorf("another one's, while that runs: got %v", got)
	}
	first.stop()
	if err := <-first.ended; err != nil {
		t.Fatal(err)
	}
	first.ended <- nil
	if got := Try(t.Context(), cfg).Problems; len(got) > 0 {
		t.Errorf("its own: got %v", got)
	}
	if got := Try(t.Context(), other).Problems; len(got) != 1 || !strings.Contains(got[0].Remedy, "take-over local") {
		t.Errorf("another one's: got %v", got)
	}
	log, _ := test.NewNullLogger()
	if err := Run(t.Context(), other, Options{Log: log}); !errors.Is(err, backends.ErrHeld) {
		t.Errorf("serve: got %v, want %v", err, backends.ErrHeld)
	}
}

// A user that does not exist is found before anything is started, and keeps that backend alone down.
func TestTryFindsAnOwnerThatDoesNotExist(t *testing.T) {
	cfg, dir := parse(t, one+"volume_owner = \"no-such-user\"\n")
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	problems := Try(t.Context(), cfg).Problems
	if len(problems) != 1 || problems[0].Key != "backend[0].volume_owner" || !strings.Contains(problems[0].What, "no-such-user") {
		t.Errorf("got problems %v", problems)
	}
	d := run(t, cfg)
	views, err := d.Backends(t.Context())
	if err != nil || views[0].Available || !strings.Contains(views[0].Error, "no-such-user") {
		t.Errorf("got %+v, %v", views, err)
	}
	wantLogged(t, d.log, "is down", problems[0].Remedy)
}
