package api_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/words"
)

// While the catalog's database does not answer, that is told, and nothing is asked that would wait for it: a scrape that takes
// too long tells nothing at all.
func TestAScrapeAsksNothingOfACatalogThatIsAway(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{Registry: prometheus.NewRegistry()})
	_, got := d.raw(t, "GET", "/metrics", "")
	if !strings.Contains(got, "clonecache_catalog_up 0\n") || !strings.Contains(got, "clonecache_source_up{") {
		t.Errorf("the catalog is not down, or nothing is said of sources:\n%s", got)
	}
	for _, series := range []string{"clonecache_backend_up", "clonecache_held_bytes", "clonecache_hosts"} {
		if strings.Contains(got, series) {
			t.Errorf("%s was asked for", series)
		}
	}
}

func TestMetricsCountWhatTheyHear(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := api.NewMetrics(reg)
	svc := newFake()
	svc.catalogUp = true
	d := startDaemon(t, svc, api.ServerConfig{Registry: reg})
	m.Request("local", plugin.Hit, plugin.ReasonReady, 20*time.Millisecond)
	m.Request("local", plugin.Hit, plugin.ReasonReady, 20*time.Millisecond)
	m.RequestError("local", fmt.Errorf("x: %w", backends.ErrUnavailable))
	m.FillStarted("local")
	m.FillStarted("local")
	m.FillEnded("local", 3*time.Second, nil)
	m.Evicted("local", "size", 700)
	status, got := d.raw(t, "GET", "/metrics", "")
	if status != 200 {
		t.Fatalf("status %d: %s", status, got)
	}
	for _, want := range []string{
		`clonecache_requests_total{backend="local",outcome="hit",reason="ready"} 2`,
		`clonecache_request_duration_seconds_bucket{backend="local",outcome="hit",le="0.025"} 2`,
		`clonecache_request_duration_seconds_bucket{backend="local",outcome="hit",le="0.01"} 0`,
		`clonecache_request_errors_total{backend="local",code="backend_unavailable"} 1`,
		`clonecache_fills_in_flight{backend="local"} 1`,
		`clonecache_fill_duration_seconds_count{backend="local",result="ready"} 1`,
		`clonecache_evictions_total{backend="local",cause="size"} 1`,
		`clonecache_evicted_bytes_total{backend="local",cause="size"} 700`,
		`clonecache_held_bytes{backend="local"} 300`,
		`clonecache_backend_up{backend="local"} 1`,
		`clonecache_free_bytes{backend="local"} 700`,
		`clonecache_loans{backend="lvm"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is not in /metrics", want)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) != 0 {
		t.Errorf("lint: %+v, %v", problems, err)
	}
}

func TestMetricsAreThereWhileTheDaemonStarts(t *testing.T) {
	d := startDaemon(t, nil, api.ServerConfig{})
	if status, body := d.raw(t, "GET", "/metrics", ""); status != 200 || strings.Contains(body, "held_bytes") {
		t.Errorf("metrics = %d %s", status, body)
	}
}

// What callers made up is counted, whatever it is: a metric's label panics on what is not UTF-8.
func TestMetricsTakeAnyBackendsName(t *testing.T) {
	reg := prometheus.NewRegistry()
	d := startDaemon(t, api.ServiceOf(openPlugin(t, api.NewMetrics(reg))), api.ServerConfig{Registry: reg})
	api.NewMetrics(prometheus.NewRegistry()).RequestError("\xff", backends.ErrUnavailable)
	for _, path := range []string{"%ff", "a", "b", "c%0a"} {
		if status, body := d.raw(t, "POST", "/v1/backends/"+path+"/volumes", `{"image": "lib:a.raw", "volume": "v"}`); status != 404 && status != 400 && status != 422 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if _, got := d.raw(t, "GET", "/metrics", ""); strings.Count(got, "clonecache_request_errors_total{") != 1 || !strings.Contains(got, `backend="unknown"`) {
		t.Errorf("metrics have other backends than unknown:\n%s", got)
	}
}

func TestSourcesAreToldToMonitors(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	_, metrics := d.raw(t, "GET", "/metrics", "")
	for _, want := range []string{
		`clonecache_source_up{source="library"} 1`, `clonecache_source_up{source="web"} 0`, `clonecache_source_stale_answers_total{source="web"} 3`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(metrics, `clonecache_source_up{source="new"}`) {
		t.Error("a source that was not asked is said to be up or down")
	}
	if _, ready := d.raw(t, "GET", "/readyz", ""); !strings.Contains(ready, `"name":"web","state":"down"`) {
		t.Errorf("readyz = %s", ready)
	}
}

// A series that appears with its first event hides that event from a rate.
func TestEverySeriesIsThereFromTheStart(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := api.NewMetrics(reg)
	m.Expect("local", api.Volumed)
	m.Expect("files", api.FileCached)
	svc := newFake()
	svc.catalogUp = true
	d := startDaemon(t, svc, api.ServerConfig{Registry: reg, Version: "v7"})
	before := series(t, d)
	for outcome, reasons := range plugin.Outcomes() {
		for _, reason := range reasons {
			m.Request("local", outcome, reason, time.Millisecond)
		}
	}
	for _, err := range []error{backends.ErrUnavailable, plugin.ErrConflict, errors.New("unheard of"), nil} {
		if err != nil {
			m.RequestError("local", err)
		}
		for _, store := range []backends.Name{"local", "files"} {
			m.FillStarted(store)
			m.FillEnded(store, time.Second, err)
			m.Downloaded(store, 5)
		}
	}
	for _, cause := range words.EvictCauses() {
		m.Evicted("local", string(cause), 1)
		m.Evicted("files", string(cause), 1)
	}
	m.FillSpent("local", catalog.FillPhases{Decode: 2 * time.Second, Commit: -1})
	m.FillSpent("files", catalog.FillPhases{})
	m.Saved("local", 9)
	for s := range series(t, d) {
		if !before[s] {
			t.Errorf("%s was not there from the start", s)
		}
	}
	_, got := d.raw(t, "GET", "/metrics", "")
	for _, want := range []string{
		`clonecache_saved_bytes_total{backend="local"} 9`,
		`clonecache_downloaded_bytes_total{backend="files"} 20`,
		`clonecache_fill_errors_total{backend="local",code="internal"} 1`,
		`clonecache_request_duration_seconds_bucket{backend="local",outcome="hit",le="0.00025"} 0`,
		`clonecache_waiting_requests{backend="local"} 0`,
		`clonecache_fill_phase_seconds_total{backend="local",phase="decode"} 2`,
		`clonecache_fill_phase_seconds_total{backend="local",phase="commit"} 0`,
		`clonecache_catalog_up 1`,
		`clonecache_total_bytes{backend="local"} 1000`,
		`clonecache_quota_up 1`,
		`clonecache_quota_limit{resource="volumes"} 50`,
		`clonecache_quota_in_use{resource="volumes"} 2`,
		`clonecache_quota_reserved{resource="gigabytes"} 0`,
		`clonecache_build_info{goversion="` + runtime.Version() + `",version="v7"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is not in /metrics", want)
		}
	}
	for _, line := range strings.Split(got, "\n") {
		if strings.HasPrefix(line, "clonecache_") && strings.Contains(line, "store=") {
			t.Errorf("another label than backend: %s", line)
		}
	}
}

// series are the names and labels of what /metrics has.
func series(t *testing.T, d *daemon) map[string]bool {
	t.Helper()
	status, body := d.raw(t, "GET", "/metrics", "")
	if status != 200 {
		t.Fatalf("metrics: %d %s", status, body)
	}
	all := map[string]bool{}
	for _, line := range strings.Split(body, "\n") {
		if name, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(name, "clonecache_") {
			all[name] = true
		}
	}
	return all
}

// A token for metrics reads these, and nothing else; a listener for metrics serves nothing else.
func TestWhoMayReadMetrics(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	dir := t.TempDir()
	file := func(name, token string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const all, reader = "all-powerful-token", "reader-of-metrics"
	cfg := api.ListenConfig{TokenFile: file("all", all), MetricsTokenFile: file("reader", reader)}
	full := serve(t, d.server, "tcp://127.0.0.1:0", cfg)
	listeners, err := api.ListenMetrics(t.Context(), []string{"tcp://127.0.0.1:0"}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	only := listeners[0].URL
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(listeners) }()
	for _, c := range []struct {
		method, url, path, token string
		want                     int
	}{
		{"GET", full, "/metrics", all, 200},
		{"GET", full, "/metrics", reader, 200},
		{"GET", full, "/metrics", "", 401},
		{"GET", full, "/metrics", "another-token-here", 401},
		{"POST", full, "/metrics", reader, 401},
		{"GET", full, "/v1/status", reader, 401},
		{"GET", full, "/v1/entries", reader, 401},
		{"GET", full, "/v1/status", all, 200},
		{"GET", full, "/readyz", "", 200},
		{"GET", only, "/metrics", "", 200}, // on loopback
		{"GET", only, "/healthz", "", 200},
		{"GET", only, "/v1/status", all, 404},
		{"POST", only, "/v1/volumes", all, 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, c.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s%s with %q: got %d, want %d", c.method, c.url, c.path, c.token, resp.StatusCode, c.want)
		}
	}
	if err := d.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	for name, insecure := range map[string]api.ListenConfig{
		"for everybody": {}, "by an admin's token in the clear": {TokenFile: cfg.TokenFile}, "by Keystone's in the clear": {Guests: guestbook{}},
	} {
		if _, err := api.ListenMetrics(t.Context(), []string{"tcp://0.0.0.0:0"}, insecure); err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("%s: got %v, want an error that asks for a token", name, err)
		}
	}
}

// Where metrics are read without TLS, their own token is the only one that lets anybody in.
func TestMetricsInTheClearTakeTheirOwnTokenAlone(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	listeners, err := api.ListenMetrics(t.Context(), []string{"tcp://0.0.0.0:0"}, api.ListenConfig{
		TokenFile: writeToken(t, "all-powerful-token"), MetricsTokenFile: writeToken(t, "reader-of-metrics"),
		Guests: guestbook{"token-of-a-guest-admin": {Name: "Keystone user ada", Role: api.Admin}},
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(listeners) }()
	_, port, err := net.SplitHostPort(listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		guest, bearer string
		want          int
	}{
		{"", "reader-of-metrics", 200}, {"", "all-powerful-token", 401}, {"token-of-a-guest-admin", "", 401}, {"", "", 401},
	} {
		if got, body := askAsGuest(t, "http://127.0.0.1:"+port, "GET /metrics", c.guest, c.bearer); got != c.want {
			t.Errorf("with %+v: got %d %s", c, got, body)
		}
	}
	if err := d.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
