package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestMetricsCountWhatTheyHear(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := api.NewMetrics(reg)
	d := startDaemon(t, newFake(), api.ServerConfig{Registry: reg})
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
		`clonecache_fills_in_flight{store="local"} 1`,
		`clonecache_fill_duration_seconds_count{result="ready",store="local"} 1`,
		`clonecache_evictions_total{cause="size",store="local"} 1`,
		`clonecache_evicted_bytes_total{cause="size",store="local"} 700`,
		`clonecache_held_bytes{store="local"} 300`,
		`clonecache_store_up{store="local"} 1`,
		`clonecache_free_bytes{store="local"} 700`,
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
	d := startDaemon(t, openPlugin(t, api.NewMetrics(reg)), api.ServerConfig{Registry: reg})
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
