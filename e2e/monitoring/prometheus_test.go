package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
)

// promtool runs it on what is below dir.
func promtool(t *testing.T, dir, stdin string, args ...string) {
	t.Helper()
	harness.NeedTools(t, "promtool")
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

// place copies files into a directory of their own, for tools that want them side by side.
func place(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Prometheus' own tool takes the rules, and finds that each alert fires while what it is about lasts, and ends after it.
func TestEachAlertFiresAndEnds(t *testing.T) {
	dir := place(t, rules, "testdata/alerts.test.yml")
	promtool(t, dir, "", "check", "rules", filepath.Base(rules))
	promtool(t, dir, "", "test", "rules", "alerts.test.yml")
	tests, err := os.ReadFile(filepath.Join(dir, "alerts.test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range alerts(t) {
		if !bytes.Contains(tests, []byte("name: "+name+"\n")) {
			t.Errorf("%s is not tested", name)
		}
	}
}

// expressions are what the dashboard asks Prometheus for.
func expressions(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d expressions", len(all))
	}
	return all
}

// Each expression of the dashboard is one that Prometheus understands.
func TestTheDashboardsExpressionsAreRead(t *testing.T) {
	var group strings.Builder
	group.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, expr := range expressions(t) {
		for name, value := range map[string]string{"$__rate_interval": "5m", "$__range": "1h", "$instance": ".*", "$backend": ".*"} {
			expr = strings.ReplaceAll(expr, name, value)
		}
		fmt.Fprintf(&group, "  - record: panel:%d\n    expr: %q\n", i, expr)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dashboard.yml"), []byte(group.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "", "check", "rules", "dashboard.yml")
}

// prometheus is one that runs.
type prometheus struct{ url string }

// start starts one, which scrapes and judges until the test ends.
func (s scrape) start(t *testing.T) prometheus {
	t.Helper()
	harness.NeedTools(t, "prometheus")
	dir := t.TempDir()
	for name, content := range map[string]string{"rules.yml": s.rules, "prometheus.yml": s.config()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	cmd := exec.Command("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	var said bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", said.String())
		}
	})
	return prometheus{"http://" + address}
}

// get asks for a path; "" where nobody answers yet.
func (p prometheus) get(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

// has tells whether an expression has a value.
func (p prometheus) has(t *testing.T, expr string) bool {
	t.Helper()
	return strings.Contains(p.get(t, "/api/v1/query?query="+url.QueryEscape(expr)), `"value":[`)
}

// fires tells whether an alert does.
func (p prometheus) fires(t *testing.T, name string) bool {
	t.Helper()
	return p.has(t, `ALERTS{alertname="`+name+`",alertstate="firing"}`)
}

// A real Prometheus scrapes a daemon: everything that the dashboard and the alerts name is there, and that the daemon, or its
// backend, is gone is an alert, which ends once it is back.
func TestPrometheusScrapesADaemon(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: tests that run the daemon are left out")
	}
	address := freeAddress(t)
	dir := t.TempDir()
	d := harness.Start(t, harness.Config{Tables: fmt.Sprintf(`metrics_listen = ["tcp://%s"]
[[image_source]]
name = "library"
kind = "directory"
path = %q
[[backend]]
name = "local"
kind = "file"
path = %q
max_size = "1GiB"
max_count = 5
fallback = "files"
[[file_cache]]
name = "files"
path = %q
[internal_tenant]
kind = "local"
max_volumes = 10
max_gigabytes = 10
`, address, filepath.Join(dir, "images"), filepath.Join(dir, "volumes"), filepath.Join(dir, "files"))})
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	harness.SmallDisk(t, filepath.Join(dir, "images/a.raw"), 1, harness.MiB, harness.MiB)
	p := scrape{rules: regexp.MustCompile(`(?m)^( +for:) .*$`).ReplaceAllString(shippedRules(t), "$1 0s"), every: time.Second, targets: []string{address}}.start(t)
	harness.Until(t, "Prometheus has scraped", func() bool { return p.has(t, `up{job="clonecache"} == 1`) })
	d.Create(t, harness.Volume{Image: "library:a.raw", Name: "v1"})
	harness.Until(t, "every metric that is spoken of is there", func() bool { return len(p.missing(t)) == 0 })
	harness.Until(t, "a scrape is whole", func() bool { return strings.Contains(p.get(t, "/api/v1/targets"), `"health":"up"`) })
	promtool(t, dir, p.scraped(t, address), "check", "metrics")
	d.Stop(t)
	harness.Until(t, "ClonecacheDown fires", func() bool { return p.fires(t, "ClonecacheDown") })
	d.Start(t)
	harness.Until(t, "ClonecacheDown ends", func() bool { return p.has(t, `up{job="clonecache"} == 1`) && !p.fires(t, "ClonecacheDown") })
}

// mayLack are those that a daemon like this one does not have.
var mayLack = regexp.MustCompile(`^clonecache_(source_up|loans|sink_.*)$`)

// missing are metrics of the dashboard and the alerts that Prometheus has not.
func (p prometheus) missing(t *testing.T) []string {
	t.Helper()
	var missing []string
	for _, name := range regexp.MustCompile(`clonecache_\w+`).FindAllString(strings.Join(expressions(t), " ")+shippedRules(t), -1) {
		if !mayLack.MatchString(name) && !p.has(t, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// scraped is what the daemon tells whoever scrapes it.
func (p prometheus) scraped(t *testing.T, address string) string {
	t.Helper()
	return prometheus{"http://" + address}.get(t, "/metrics")
}
