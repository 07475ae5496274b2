package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/report"
)

// served is a daemon that runs in this process.
type served struct {
	dir    string
	server string
	image  []byte // library:disk.raw
	states chan string
	stop   context.CancelFunc
	atOnce chan struct{}
	exit   chan int
	log    *lockedBuffer
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const serveConfig = `
state_dir = "state"
listen = ["unix://s"]
log_level = "debug"
log_format = "json"
stop_timeout = "1h"

[internal_tenant]
max_volumes = 5

[[image_source]]
name = "library"
kind = "directory"
path = "images"

[[backend]]
name = "local"
kind = "file"
path = "volumes"
max_count = 5
fallback = "files"

[[file_cache]]
name = "files"
path = "files"
max_size = "1GiB"
`

// startDaemon runs "serve" until the test ends, and returns once it told systemd that it is ready.
// more is added to its configuration.
func startDaemon(t *testing.T, more ...string) *served {
	t.Helper()
	return startDaemonWith(t, func(*Env) {}, more...)
}

// startDaemonWith is startDaemon in a changed environment.
func startDaemonWith(t *testing.T, change func(*Env), more ...string) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "cc-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &served{dir: dir, server: "unix://" + filepath.Join(dir, "s"), states: notifySocket(t, filepath.Join(dir, "n")),
		atOnce: make(chan struct{}), exit: make(chan int, 1), log: &lockedBuffer{}}
	d.image = bytes.Repeat([]byte("a disk's content\n"), 1<<16)[:1<<20]
	write(t, filepath.Join(dir, "images/disk.raw"), d.image)
	write(t, filepath.Join(dir, "images/evil.qcow2"), []byte("not a qcow2 image"+strings.Repeat(" ", 4096)))
	write(t, filepath.Join(dir, "c.toml"), []byte(serveConfig+strings.Join(more, "\n")))

	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	env := testEnv(d.log, d.log)
	env.Now, env.AtOnce = time.Now, d.atOnce
	change(&env)
	go func() { d.exit <- Run(ctx, env, []string{"serve", "--config", filepath.Join(dir, "c.toml")}) }()
	t.Cleanup(func() {
		stop()
		if code := <-d.exit; code != exitOK {
			t.Errorf("serve: got exit code %d, want 0\n%s", code, d.log)
		}
	})
	if got := <-d.states; got != "READY=1" {
		t.Fatalf("got state %q, want READY=1", got)
	}
	return d
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// notifySocket is systemd's end of sd_notify.
func notifySocket(t *testing.T, name string) chan string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	states := make(chan string, 16)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			states <- string(buf[:n])
		}
	}()
	return states
}

// run runs one command against the daemon.
func (d *served) run(t *testing.T, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := testEnv(&out, &errs)
	env.Now = time.Now
	exit = Run(t.Context(), env, append(args, "--server", d.server))
	return exit, out.String(), errs.String()
}

// query runs one command with -o json and decodes what it prints.
func query[T any](t *testing.T, d *served, wantExit int, args ...string) T {
	t.Helper()
	exit, stdout, stderr := d.run(t, append(args, "-o", "json")...)
	if exit != wantExit {
		t.Fatalf("%q: got exit code %d, want %d\n%s%s", args, exit, wantExit, stdout, stderr)
	}
	var v T
	dec := json.NewDecoder(strings.NewReader(stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, stdout)
	}
	return v
}

func TestTheMainJob(t *testing.T) {
	d := startDaemon(t)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(d.image))

	first := query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	if first.DownloadedBytes != int64(len(d.image)) || first.Volume != "v1" {
		t.Errorf("first volume: got %+v", first)
	}
	second := query[plugin.Answer](t, d, exitOK, "volume", "create", "disk.raw", "--name", "v2", "--size", "2MiB", "--digest", digest)
	if second.DownloadedBytes != 0 || second.SizeBytes != 2<<20 {
		t.Errorf("second volume: got %+v", second)
	}
	for _, a := range []plugin.Answer{first, second} {
		got, err := os.ReadFile(a.Path)
		if err != nil {
			t.Fatal(err)
		}
		want := append(bytes.Clone(d.image), make([]byte, a.SizeBytes-int64(len(d.image)))...)
		if !bytes.Equal(got, want) {
			t.Errorf("volume %s does not have the image's content", a.Volume)
		}
	}
	if got := query[[]plugin.VolumeView](t, d, exitOK, "volume", "list"); len(got) != 2 {
		t.Errorf("volumes: got %+v, want v1 and v2", got)
	}
	if got := query[report.Report](t, d, exitOK, "report", "--since", "24h"); got.Total.Misses != 1 {
		t.Errorf("report: got %d misses, want 1", got.Total.Misses)
	}
	if got := query[plugin.Quota](t, d, exitOK, "quota"); got.Volumes.Limit != 5 {
		t.Errorf("quota: got limit %d, want 5", got.Volumes.Limit)
	}
	if got := query[plugin.Status](t, d, exitOK, "status"); !got.Ready || got.Version != "v1.2.3" || len(got.Backends) != 2 {
		t.Errorf("status: got %+v", got)
	}
	for _, args := range [][]string{{"check"}, {"check", "--deep"}, {"check", "--repair"}} {
		if got := query[plugin.CheckResult](t, d, exitOK, args...); !got.OK {
			t.Errorf("%q: got %+v", args, got)
		}
	}
	query[plugin.PruneResult](t, d, exitOK, "prune")
	query[plugin.CleanResult](t, d, exitOK, "clean")
}

func TestEntriesAreManaged(t *testing.T) {
	d := startDaemon(t)
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	entries := query[[]plugin.EntryView](t, d, exitOK, "entry", "list")
	if len(entries) != 1 {
		t.Fatalf("got entries %+v, want one", entries)
	}
	id := entries[0].ID
	short := shortID(id)
	if got := query[plugin.EntryView](t, d, exitOK, "entry", "pin", short); !got.Pinned {
		t.Error("pin: not pinned")
	}
	query[failure](t, d, exitConflict, "entry", "delete", id)
	if got := query[[]plugin.Revalidated](t, d, exitOK, "entry", "revalidate", short); len(got) != 1 || !got[0].Valid {
		t.Errorf("revalidate: got %+v, want it valid", got)
	}
	if got := query[plugin.EntryView](t, d, exitOK, "entry", "unpin", id); got.Pinned {
		t.Error("unpin: still pinned")
	}
	if got := query[plugin.EntryView](t, d, exitOK, "entry", "show", short); got.ID != id {
		t.Errorf("show %s: got %s, want %s", short, got.ID, id)
	}
	if got := query[plugin.PruneResult](t, d, exitOK, "entry", "delete", "--all", "--force"); len(got.Removed) != 1 {
		t.Errorf("delete --all: got %+v, want one removed", got)
	}
	if got := query[[]plugin.EntryView](t, d, exitOK, "entry", "list"); len(got) != 0 {
		t.Errorf("got entries %+v, want none", got)
	}
	if got := query[deletedVolumes](t, d, exitOK, "volume", "delete", "v1"); len(got.Deleted) != 1 {
		t.Errorf("got %+v, want v1 deleted", got)
	}
}

// failure is what a refusal prints.
type failure struct {
	Error api.Error `json:"error"`
}

func TestRefusalsHaveExitCodes(t *testing.T) {
	d := startDaemon(t)
	query[plugin.Answer](t, d, exitOK, "volume", "create", "library:disk.raw", "--name", "v1")
	for _, c := range []struct {
		name string
		args []string
		exit int
		code string
	}{
		{"hostile image", []string{"volume", "create", "library:evil.qcow2", "--name", "x"}, exitRefused, "image_refused"},
		{"no such image", []string{"volume", "create", "library:none", "--name", "x"}, exitNotFound, "image_not_found"},
		{"name taken", []string{"volume", "create", "library:disk.raw", "--name", "v1", "--size", "9MiB"}, exitConflict, "volume_conflict"},
		{"too small", []string{"volume", "create", "library:disk.raw", "--name", "x", "--size", "4KiB"}, exitUsage, "volume_too_small"},
		{"wrong digest", []string{"volume", "create", "library:disk.raw", "--name", "x", "--digest", "sha256:" + strings.Repeat("0", 64)}, exitRefused, "digest_mismatch"},
		{"no such entry", []string{"entry", "show", "0000-none"}, exitNotFound, "entry_not_found"},
		{"no such backend", []string{"volume", "create", "library:disk.raw", "--name", "x", "--backend", "b"}, exitNotFound, "unknown_backend"},
		{"no name", []string{"volume", "create", "library:disk.raw"}, exitUsage, "usage"},
		{"bad size", []string{"volume", "create", "library:disk.raw", "--name", "x", "--size", "10GB"}, exitUsage, "usage"},
		{"no command", []string{"volume", "explain"}, exitUsage, "usage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := query[failure](t, d, c.exit, c.args...); got.Error.Code != c.code || got.Error.Message == "" {
				t.Errorf("got %+v, want code %s", got.Error, c.code)
			}
		})
	}
	if entries, err := os.ReadDir(filepath.Join(d.dir, "volumes")); err != nil || len(entries) != 2 {
		t.Errorf("volumes: got %v, %v; want v1 and .clonecache", entries, err)
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	d := startDaemon(t)
	var out, errs bytes.Buffer
	exit := Run(t.Context(), testEnv(&out, &errs), []string{"serve", "--config", filepath.Join(d.dir, "c.toml")})
	if exit != exitError || !strings.Contains(errs.String(), plugin.ErrLocked.Error()) {
		t.Errorf("got exit code %d, want %d and a log that says why\n%s", exit, exitError, &errs)
	}
	if exit, _, stderr := d.run(t, "status"); exit != exitOK {
		t.Errorf("the first daemon no longer answers: %d %s", exit, stderr)
	}
}

func TestStoppingIsToldAndEndsRequests(t *testing.T) {
	d := startDaemon(t)
	close(d.atOnce)
	d.stop()
	if got := <-d.states; got != "STOPPING=1" {
		t.Errorf("got state %q, want STOPPING=1", got)
	}
	code := <-d.exit
	d.exit <- code
	if exit, _, _ := d.run(t, "status"); exit != exitUnreachable {
		t.Errorf("status after the end: got exit code %d, want %d", exit, exitUnreachable)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "s")); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestASecondSignalUndoesFillsAtOnce stops a daemon whose fill never ends, with an hour to stop.
func TestASecondSignalUndoesFillsAtOnce(t *testing.T) {
	reading := make(chan struct{}, 16)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stalls.raw" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", "1048576")
		if r.Method == http.MethodHead {
			return
		}
		w.Write(make([]byte, 4096))
		w.(http.Flusher).Flush()
		reading <- struct{}{}
		<-r.Context().Done()
	}))
	defer web.Close()
	d := startDaemon(t, "[[image_source]]", `name = "web"`, `kind = "http"`, "url = \""+web.URL+"\"")
	created := make(chan int, 1)
	go func() {
		exit, _, _ := d.run(t, "volume", "create", "web:stalls.raw", "--name", "v1")
		created <- exit
	}()
	<-reading
	d.stop()
	if got := <-d.states; got != "STOPPING=1" {
		t.Errorf("got state %q, want STOPPING=1", got)
	}
	select {
	case code := <-d.exit:
		t.Fatalf("it ended with %d before the fill did", code)
	default:
	}
	// The service manager hears of the stop a moment before requests do.
	for give := time.Now().Add(20 * time.Second); time.Now().Before(give); {
		if exit, _, _ := d.run(t, "status"); exit == exitLater {
			break
		}
	}
	if exit, stdout, _ := d.run(t, "status"); exit != exitLater || !strings.Contains(stdout, "stopping") {
		t.Errorf("status while it stops: got exit code %d and %q, want %d and that it does", exit, stdout, exitLater)
	}
	close(d.atOnce)
	if exit := <-created; exit == exitOK {
		t.Error("volume create: got exit code 0 for a fill that was undone")
	}
	code := <-d.exit
	d.exit <- code
	if left, err := filepath.Glob(filepath.Join(d.dir, "*/image-volumes/*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestServeNeedsAConfiguration(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.toml")
	var out, errs bytes.Buffer
	env := testEnv(&out, &errs)
	env.Getenv = func(name string) string { return map[string]string{"CLONECACHE_CONFIG": none}[name] }
	if exit := Run(t.Context(), env, []string{"serve"}); exit != exitUsage || !strings.Contains(errs.String(), none) {
		t.Errorf("got %d %s, want %d and the file's name", exit, &errs, exitUsage)
	}
}

func TestServeRefusesABadConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	write(t, file, []byte("fill_limit = 0\nspeed = 11\n"))
	var out, errs bytes.Buffer
	exit := Run(t.Context(), testEnv(&out, &errs), []string{"serve", "--config", file})
	if exit != exitUsage || !strings.Contains(errs.String(), "fill_limit") || !strings.Contains(errs.String(), "speed") {
		t.Errorf("got %d %s, want %d and both problems", exit, &errs, exitUsage)
	}
}

// A SIGHUP that a person, logrotate or a closed terminal sends does not end the daemon.
func TestAHangupIsLoggedAndChangesNothing(t *testing.T) {
	hangups := make(chan os.Signal)
	d := startDaemonWith(t, func(e *Env) { e.Hangups = func() <-chan os.Signal { return hangups } })
	for range 2 { // the second one is taken once the first one was answered
		select {
		case hangups <- syscall.SIGHUP:
		case code := <-d.exit:
			d.exit <- code
			t.Fatalf("it ended with %d", code)
		}
	}
	if !strings.Contains(d.log.String(), "SIGHUP does not reload") {
		t.Errorf("the log does not tell of SIGHUP:\n%s", d.log)
	}
	if got := query[plugin.Status](t, d, exitOK, "status"); !got.Ready {
		t.Errorf("status: got %+v, want ready", got)
	}
}
