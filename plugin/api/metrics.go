package api

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// Metrics counts what the plugin tells it; it is a plugin.Observer. All of /metrics:
//
//	clonecache_requests_total{backend,outcome,reason}       counter    answered requests
//	clonecache_request_duration_seconds{backend,outcome}    histogram  from request to answer
//	clonecache_request_errors_total{backend,code}           counter    requests that ended in an error; backend "unknown": one that is not configured
//	clonecache_fills_in_flight{store}                       gauge      fills of this process
//	clonecache_fill_duration_seconds{store,result}          histogram  result: ready, or an error's code
//	clonecache_evictions_total{store,cause}                 counter    entries that went
//	clonecache_evicted_bytes_total{store,cause}             counter    their held bytes
//	clonecache_store_up{store}                              gauge      1: the backend answers
//	clonecache_entries{store}                               gauge      entries that bounds count
//	clonecache_held_bytes{store}                            gauge      bytes that bounds count
//	clonecache_detached_bytes{store}                        gauge      held by retired image-volumes with live clones
//	clonecache_max_size_bytes{store}                        gauge      the bound; 0: unbounded
//	clonecache_max_entries{store}                           gauge      the bound; 0: unbounded
//	clonecache_free_bytes{store}                            gauge      left on the backend; absent where unknown
//	clonecache_source_up{source}                            gauge      1: the image source answered what it was asked last; absent before
//	clonecache_source_stale_answers_total{source}           counter    answers from memory while it was down (serve_stale)
//
// store is a backend or a file cache. The gauges from store_up on are read when they are scraped, by
// NewServer's part of the registry.
type Metrics struct {
	requests     *prometheus.CounterVec
	took         *prometheus.HistogramVec
	errors       *prometheus.CounterVec
	fills        *prometheus.GaugeVec
	fillTook     *prometheus.HistogramVec
	evictions    *prometheus.CounterVec
	evictedBytes *prometheus.CounterVec
}

var _ plugin.Observer = (*Metrics)(nil)

// NewMetrics registers the counters. It panics where reg has them already: one registry is one daemon's.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "clonecache_" + name, Help: help}, labels)
	}
	m := &Metrics{
		requests:     counter("requests_total", "Answered requests.", "backend", "outcome", "reason"),
		errors:       counter("request_errors_total", "Requests that ended in an error.", "backend", "code"),
		evictions:    counter("evictions_total", "Entries that were evicted.", "store", "cause"),
		evictedBytes: counter("evicted_bytes_total", "Bytes that evicted entries held.", "store", "cause"),
		took:         durations("request_duration_seconds", "Time from request to answer.", "backend", "outcome"),
		fillTook:     durations("fill_duration_seconds", "Time that fills took.", "store", "result"),
		fills: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "clonecache_fills_in_flight", Help: "Fills in flight in this process."}, []string{"store"}),
	}
	reg.MustRegister(m.requests, m.took, m.errors, m.fills, m.fillTook, m.evictions, m.evictedBytes)
	return m
}

// durations is a histogram from 1 ms, a clone, to 10 min, a large download.
func durations(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "clonecache_" + name, Help: help,
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600},
	}, labels)
}

// labels are values as a metric takes them: it panics on what is not UTF-8.
func labels(values ...string) []string {
	for i, v := range values {
		values[i] = strings.ToValidUTF8(v, "\uFFFD")
	}
	return values
}

// Request implements plugin.Observer.
func (m *Metrics) Request(backend backends.Name, outcome plugin.Outcome, reason plugin.Reason, took time.Duration) {
	m.requests.WithLabelValues(labels(string(backend), string(outcome), string(reason))...).Inc()
	m.took.WithLabelValues(labels(string(backend), string(outcome))...).Observe(took.Seconds())
}

// RequestError implements plugin.Observer.
func (m *Metrics) RequestError(backend backends.Name, err error) {
	m.errors.WithLabelValues(labels(string(backend), Code(err))...).Inc()
}

// FillStarted implements plugin.Observer.
func (m *Metrics) FillStarted(store backends.Name) {
	m.fills.WithLabelValues(labels(string(store))...).Inc()
}

// FillEnded implements plugin.Observer.
func (m *Metrics) FillEnded(store backends.Name, took time.Duration, err error) {
	result := "ready"
	if err != nil {
		result = Code(err)
	}
	m.fills.WithLabelValues(labels(string(store))...).Dec()
	m.fillTook.WithLabelValues(labels(string(store), result)...).Observe(took.Seconds())
}

// Evicted implements plugin.Observer.
func (m *Metrics) Evicted(store backends.Name, cause string, bytes int64) {
	m.evictions.WithLabelValues(labels(string(store), cause)...).Inc()
	m.evictedBytes.WithLabelValues(labels(string(store), cause)...).Add(float64(max(bytes, 0)))
}

// storeGauges reads the stores when it is scraped.
type storeGauges struct {
	sources  func() []plugin.SourceView
	backends func(context.Context) ([]plugin.BackendView, error)
}

// storeGauge is one gauge of a store.
type storeGauge struct {
	desc  *prometheus.Desc
	value func(plugin.BackendView) float64
}

func storeGaugeList() []storeGauge {
	gauge := func(name, help string, value func(plugin.BackendView) float64) storeGauge {
		return storeGauge{prometheus.NewDesc("clonecache_"+name, help, []string{"store"}, nil), value}
	}
	return []storeGauge{
		gauge("store_up", "1 where the backend answers.", func(b plugin.BackendView) float64 {
			if b.Available {
				return 1
			}
			return 0
		}),
		gauge("entries", "Entries that bounds count.", func(b plugin.BackendView) float64 { return float64(b.Entries) }),
		gauge("held_bytes", "Bytes that bounds count.", func(b plugin.BackendView) float64 { return float64(b.HeldBytes) }),
		gauge("detached_bytes", "Bytes held by retired image-volumes with live clones.", func(b plugin.BackendView) float64 { return float64(b.DetachedBytes) }),
		gauge("max_size_bytes", "Bound of held bytes; 0 is unbounded.", func(b plugin.BackendView) float64 { return float64(b.MaxSizeBytes) }),
		gauge("max_entries", "Bound of entries; 0 is unbounded.", func(b plugin.BackendView) float64 { return float64(b.MaxCount) }),
	}
}

func freeBytes() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_free_bytes", "Bytes left on the backend.", []string{"store"}, nil)
}

// Describe implements prometheus.Collector.
func (g *storeGauges) Describe(out chan<- *prometheus.Desc) {
	for _, gauge := range storeGaugeList() {
		out <- gauge.desc
	}
	out <- freeBytes()
	out <- sourceUp()
	out <- staleAnswers()
}

func sourceUp() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_source_up", "1 where the image source answered what it was asked last.", []string{"source"}, nil)
}

func staleAnswers() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_source_stale_answers_total", "Answers from memory while the image source was down.", []string{"source"}, nil)
}

// collectSources tells how image sources are, by what is known.
func (g *storeGauges) collectSources(out chan<- prometheus.Metric) {
	for _, s := range g.sources() {
		if s.State != "unknown" {
			up := 0.0
			if s.State == "up" {
				up = 1
			}
			out <- prometheus.MustNewConstMetric(sourceUp(), prometheus.GaugeValue, up, s.Name)
		}
		out <- prometheus.MustNewConstMetric(staleAnswers(), prometheus.CounterValue, float64(s.StaleAnswers), s.Name)
	}
}

// Collect implements prometheus.Collector. A Service that does not answer in time costs the scrape these
// gauges, not the others.
func (g *storeGauges) Collect(out chan<- prometheus.Metric) {
	const patience = 2 * time.Second
	g.collectSources(out)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	views, err := g.backends(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(storeGaugeList()[0].desc, err)
		return
	}
	for _, b := range views {
		for _, gauge := range storeGaugeList() {
			out <- prometheus.MustNewConstMetric(gauge.desc, prometheus.GaugeValue, gauge.value(b), string(b.Name))
		}
		if b.TotalBytes > 0 {
			out <- prometheus.MustNewConstMetric(freeBytes(), prometheus.GaugeValue, float64(b.FreeBytes), string(b.Name))
		}
	}
}
