package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/report"
)

// Result is what one call of the command line came to.
type Result struct {
	Exit   int
	Stdout string
	Stderr string
}

// Run calls the program with args and no server.
func Run(tb testing.TB, args ...string) Result {
	tb.Helper()
	return run(tb, nil, args)
}

// CLI calls the program against the daemon.
func (d *Daemon) CLI(tb testing.TB, args ...string) Result {
	tb.Helper()
	return run(tb, []string{"CLONECACHE_SERVER=" + d.Server}, args)
}

func run(tb testing.TB, env, args []string) Result {
	tb.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(tb.Context(), Binary(tb), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(environment(), env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatal(err)
	}
	return Result{Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// query calls the program with -o json and reads its answer; it must succeed.
func query[T any](tb testing.TB, d *Daemon, args ...string) T {
	tb.Helper()
	r := d.CLI(tb, append(args, "-o", "json")...)
	if r.Exit != 0 {
		tb.Fatalf("clonecache %q: exit %d\n%s%s", args, r.Exit, r.Stdout, r.Stderr)
	}
	return decode[T](tb, r.Stdout)
}

func decode[T any](tb testing.TB, text string) T {
	tb.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		tb.Fatalf("answer is no JSON: %v\n%s", err, text)
	}
	return v
}

// Volume asks for a volume. Size 0 is the image's own.
type Volume struct {
	Image string // SOURCE:ID
	Name  string
	Size  int64 // bytes
	Flags []string
}

func (v Volume) args() []string {
	args := []string{"volume", "create", v.Image, "--name", v.Name, "-o", "json"}
	if v.Size > 0 {
		args = append(args, "--size", strconv.FormatInt(v.Size, 10))
	}
	return append(args, v.Flags...)
}

// Create makes a volume; anything but a volume fails the test.
func (d *Daemon) Create(tb testing.TB, v Volume) plugin.Answer {
	tb.Helper()
	r := d.CLI(tb, v.args()...)
	if r.Exit != 0 {
		tb.Fatalf("create %+v: exit %d\n%s%s", v, r.Exit, r.Stdout, r.Stderr)
	}
	return decode[plugin.Answer](tb, r.Stdout)
}

// TryCreate asks for a volume and returns the exit code with the answer or the error.
func (d *Daemon) TryCreate(tb testing.TB, v Volume) (int, plugin.Answer, api.Error) {
	tb.Helper()
	r := d.CLI(tb, v.args()...)
	var failed struct {
		Error api.Error `json:"error"`
	}
	if r.Exit == 0 || r.Exit == ExitBypassed {
		return r.Exit, decode[plugin.Answer](tb, r.Stdout), failed.Error
	}
	failed = decode[struct {
		Error api.Error `json:"error"`
	}](tb, r.Stdout)
	return r.Exit, plugin.Answer{}, failed.Error
}

// ExitBypassed is the exit code of a request that the cache stepped aside from.
const ExitBypassed = 4

// Entries lists the cache's entries.
func (d *Daemon) Entries(tb testing.TB) []plugin.EntryView {
	tb.Helper()
	return query[[]plugin.EntryView](tb, d, "entry", "list")
}

// Volumes lists the volumes.
func (d *Daemon) Volumes(tb testing.TB) []plugin.VolumeView {
	tb.Helper()
	return query[[]plugin.VolumeView](tb, d, "volume", "list")
}

// Quota is the internal tenant's.
func (d *Daemon) Quota(tb testing.TB) plugin.Quota {
	tb.Helper()
	return query[plugin.Quota](tb, d, "quota")
}

// Report is the clone-cache report.
func (d *Daemon) Report(tb testing.TB, args ...string) report.Report {
	tb.Helper()
	return query[report.Report](tb, d, append([]string{"report"}, args...)...)
}

// Events lists what happened.
func (d *Daemon) Events(tb testing.TB) []plugin.Event {
	tb.Helper()
	return query[[]plugin.Event](tb, d, "event", "list")
}

// Status is the daemon's.
func (d *Daemon) Status(tb testing.TB) plugin.Status {
	tb.Helper()
	return query[plugin.Status](tb, d, "status")
}

// Check compares catalog, backends and quota. The exit code is not looked at: problems may give one.
func (d *Daemon) Check(tb testing.TB, args ...string) plugin.CheckResult {
	tb.Helper()
	r := d.CLI(tb, append([]string{"check", "-o", "json"}, args...)...)
	return decode[plugin.CheckResult](tb, r.Stdout)
}

// Get asks for a path by plain HTTP on the daemon's socket.
func (d *Daemon) Get(tb testing.TB, path string) (status int, body string) {
	tb.Helper()
	socket := strings.TrimPrefix(d.Server, "unix://")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get("http://clonecache" + path)
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return answer.StatusCode, string(text)
}
