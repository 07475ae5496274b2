package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
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
