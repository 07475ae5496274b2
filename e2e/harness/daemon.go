package harness

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/api"
)

// limit bounds every wait for a daemon; it is never reached unless something hangs.
const limit = 3 * time.Minute

// Daemon is one clonecache daemon with a directory of its own. It outlives its process: after Stop or
// Kill it can be started again on the same state.
type Daemon struct {
	Config Config
	Dir    string // configuration, state, log and socket
	Server string // for --server
	State  string // its state_dir

	// Program is what the next Start runs; "": Binary.
	Program string
	// KillAfter makes the next process kill itself (SIGKILL) after a step, as failpoint.Reached
	// understands it: "commit", or "write:3" for the third time.
	KillAfter string

	file string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed once the process is gone
}

// Start writes the configuration, starts a daemon and returns once it serves. At the end of the test
// it is stopped, and its log is searched for data races and panics.
func Start(tb testing.TB, c Config) *Daemon {
	tb.Helper()
	d := New(tb, c)
	d.Start(tb)
	return d
}

// New is Start without starting the process.
func New(tb testing.TB, c Config) *Daemon {
	tb.Helper()
	dir := shortDir(tb)
	d := &Daemon{Config: c, Dir: dir, Server: "unix://" + filepath.Join(dir, "s"),
		State: filepath.Join(dir, "state"), log: filepath.Join(dir, "log")}
	d.file = d.Config.write(tb, dir, d.Server)
	tb.Cleanup(func() { d.finish(tb) })
	return d
}

// Reconfigure writes the configuration anew, for the next Start.
func (d *Daemon) Reconfigure(tb testing.TB) {
	tb.Helper()
	d.file = d.Config.write(tb, d.Dir, d.Server)
}

// Start starts the process and returns once it says that it is ready.
func (d *Daemon) Start(tb testing.TB) {
	tb.Helper()
	if err := d.TryStart(tb); err != nil {
		tb.Fatalf("start daemon: %v\n%s", err, d.tail())
	}
}

// TryStart is Start for a daemon that may refuse to start.
func (d *Daemon) TryStart(tb testing.TB) error {
	tb.Helper()
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(d.Dir, "n"), Net: "unixgram"})
	if err != nil {
		tb.Fatal(err)
	}

	logFile, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		tb.Fatal(err)
	}
	defer logFile.Close()
	cmd := exec.Command(d.program(tb), "serve", "--config", d.file)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Env = append(environment(), "NOTIFY_SOCKET="+filepath.Join(d.Dir, "n"), "CLONECACHE_KILL_AFTER="+d.KillAfter)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	d.cmd, d.done = cmd, make(chan struct{})
	go func() {
		defer close(d.done)
		cmd.Wait() // how it ended is in cmd.ProcessState
		notify.Close()
		os.Remove(filepath.Join(d.Dir, "n"))
	}()
	return d.awaitReady(notify)
}

func (d *Daemon) program(tb testing.TB) string {
	if d.Program != "" {
		return d.Program
	}
	return Binary(tb)
}

// awaitReady waits for READY=1 on the socket that systemd would listen on.
func (d *Daemon) awaitReady(notify *net.UnixConn) error {
	ready := make(chan struct{})
	go func() {
		once := sync.OnceFunc(func() { close(ready) })
		buf := make([]byte, 4096)
		for { // until the process is gone, and the socket with it
			n, err := notify.Read(buf)
			if err != nil {
				return
			}
			if bytes.Contains(buf[:n], []byte("READY=1")) {
				once()
			}
		}
	}()
	select {
	case <-ready:
		return nil
	case <-d.done:
		return fmt.Errorf("it ended with %s", d.cmd.ProcessState)
	case <-time.After(limit):
		d.cmd.Process.Kill()
		<-d.done
		return errors.New("it did not become ready")
	}
}

// Stop asks the daemon to end and returns its exit code.
func (d *Daemon) Stop(tb testing.TB) int {
	tb.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(limit):
		d.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to the log
		<-d.done
		tb.Errorf("daemon did not stop within %v\n%s", limit, d.tail())
	}
	return d.cmd.ProcessState.ExitCode()
}

// Terminate asks the daemon to end and does not wait; Ended tells when it has.
func (d *Daemon) Terminate() { d.cmd.Process.Signal(syscall.SIGTERM) }

// Ended is closed once the process is gone; ExitCode is valid then.
func (d *Daemon) Ended() <-chan struct{} { return d.done }

// ExitCode is how the last process ended; -1 after a kill.
func (d *Daemon) ExitCode() int { return d.cmd.ProcessState.ExitCode() }

// Killed tells whether the last process, which has ended, died by SIGKILL.
func (d *Daemon) Killed() bool {
	status, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Kill kills the daemon with SIGKILL and returns once it is gone.
func (d *Daemon) Kill() {
	d.cmd.Process.Kill()
	<-d.done
}

// Suspend stops the process where it is, until Resume.
func (d *Daemon) Suspend() error { return d.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a process that was stopped go on.
func (d *Daemon) Resume() error { return d.cmd.Process.Signal(syscall.SIGCONT) }

// PID is the process's ID.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Restart stops the daemon in the orderly way and starts it again.
func (d *Daemon) Restart(tb testing.TB) {
	tb.Helper()
	if code := d.Stop(tb); code != 0 {
		tb.Errorf("daemon's exit code: got %d, want 0\n%s", code, d.tail())
	}
	d.Start(tb)
}

// Client is a Go client for the daemon.
func (d *Daemon) Client(tb testing.TB) *api.Client {
	tb.Helper()
	c, err := api.NewClient(d.Server, api.ClientConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func (d *Daemon) running() bool {
	if d.cmd == nil {
		return false
	}
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// reportSize is how many bytes of a data race or a panic are shown, wherever in the log it is.
const reportSize = 8 << 10

func (d *Daemon) finish(tb testing.TB) {
	if d.running() {
		if code := d.Stop(tb); code != 0 {
			tb.Errorf("daemon's exit code at the end: got %d, want 0", code)
		}
	}
	text, _ := os.ReadFile(d.log)
	for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if at := bytes.Index(text, []byte(bad)); at >= 0 {
			tb.Errorf("daemon's log has %q:\n%s", bad, text[at:min(len(text), at+reportSize)])
		}
	}
	if tb.Failed() {
		tb.Logf("daemon's log:\n%s", d.tail())
	}
}

// tail is the end of the daemon's log, without what a test that waits makes it say again and again.
func (d *Daemon) tail() string {
	text, _ := os.ReadFile(d.log)
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool { return strings.Contains(line, " msg=cleaned ") })
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// shortDir is a temporary directory whose name is short enough for a unix socket in it.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "cc-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Until waits until the daemon's state is as a test wants it, which no signal tells from outside.
func Until(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	UntilWithin(tb, limit, what, holds)
}

// UntilWithin is Until for what takes longer by its nature, as a lease does that is to run out.
func UntilWithin(tb testing.TB, most time.Duration, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(most)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("waited in vain: %s", what)
		case <-tb.Context().Done():
			tb.Fatalf("waited in vain: %s", what)
		}
	}
}
