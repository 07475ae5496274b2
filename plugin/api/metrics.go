package api

import (
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/words"
)

// Metrics counts what the plugin tells it; it is a plugin.Observer. All of /metrics:
//
//	clonecache_requests_total{backend,outcome,reason}       counter    answered requests
//	clonecache_request_duration_seconds{backend,outcome}    histogram  from request to answer
//	clonecache_request_errors_total{backend,code}           counter    requests that ended in an error; backend "unknown": one that is not configured
//	clonecache_fills_in_flight{backend}                     gauge      fills of this process
//	clonecache_fill_duration_seconds{backend,result}        histogram  result: ready, failed
//	clonecache_fill_phase_seconds_total{backend,phase}      counter    where the time of fills that became ready went
//	clonecache_fill_errors_total{backend,code}              counter    fills that came to nothing
//	clonecache_evictions_total{backend,cause}               counter    entries that went
//	clonecache_evicted_bytes_total{backend,cause}           counter    their held bytes
//	clonecache_downloaded_bytes_total{backend}              counter    bytes that fills have read from image sources
//	clonecache_saved_bytes_total{backend}                   counter    bytes that requests would have downloaded without the cache
//	clonecache_build_info{version,goversion}                gauge      1
//	clonecache_backend_up{backend}                          gauge      1: the backend answers
//	clonecache_entries{backend}                             gauge      entries that bounds count
//	clonecache_quarantined_entries{backend}                 gauge      entries whose image-volumes are damaged
//	clonecache_scrub_due_entries{backend}                   gauge      entries that were not read back for scrub_every
//	clonecache_held_bytes{backend}                          gauge      bytes that bounds count
//	clonecache_detached_bytes{backend}                      gauge      held by retired image-volumes with live clones
//	clonecache_max_size_bytes{backend}                      gauge      the bound; 0: unbounded
//	clonecache_max_entries{backend}                         gauge      the bound; 0: unbounded
//	clonecache_free_bytes{backend}                          gauge      left on the backend; absent where unknown
//	clonecache_source_up{source}                            gauge      1: the image source answered what it was asked last; absent before
//	clonecache_source_stale_answers_total{source}           counter    answers from memory while it was down (serve_stale)
//	clonecache_waiting_requests{backend}                    gauge      requests that wait for fills
//	clonecache_total_bytes{backend}                         gauge      of the backend; absent where unknown
//	clonecache_queue_images{state}                          gauge      images in the queue: waiting, running, done (in the last hour), failed
//	clonecache_hosts{state}                                 gauge      daemons on the catalog: up, stopped, lost
//	clonecache_catalog_up                                   gauge      1: the catalog's database answers
//	clonecache_sink_sent_total{sink}                        counter    events that a webhook, or RabbitMQ, took
//	clonecache_sink_failures_total{sink}                    counter    attempts that failed
//	clonecache_sink_dead_letters_total{sink}                counter    events that were given up for good
//	clonecache_sink_lost_events_total{sink}                 counter    events of all kinds that the log dropped before the sink could take them
//	clonecache_sink_behind_seconds{sink}                    gauge      how long ago the event happened that it does not take; 0: it has them all
//	clonecache_quota_up                                     gauge      1: the service that keeps the internal tenant's quota answers
//	clonecache_quota_limit{resource}                        gauge      volumes, gigabytes; absent where unlimited
//	clonecache_quota_in_use{resource}                       gauge      as that service counts
//	clonecache_quota_reserved{resource}                     gauge      fills in flight
//
// backend is a backend or a file cache, everywhere: series join on it. The gauges from backend_up on are read
// when they are scraped, by NewServer's part of the registry. What Expect is told of is there from the start.
type Metrics struct {
	requests     *prometheus.CounterVec
	took         *prometheus.HistogramVec
	errors       *prometheus.CounterVec
	fills        *prometheus.GaugeVec
	fillTook     *prometheus.HistogramVec
	fillSpent    *prometheus.CounterVec
	fillErrors   *prometheus.CounterVec
	evictions    *prometheus.CounterVec
	evictedBytes *prometheus.CounterVec
	downloaded   *prometheus.CounterVec
	saved        *prometheus.CounterVec
}

var _ plugin.Observer = (*Metrics)(nil)

// The results of fills.
const (
	fillReady  = "ready"
	fillFailed = "failed"
)

// NewMetrics registers the counters. It panics where reg has them already: one registry is one daemon's.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "clonecache_" + name, Help: help}, labels)
	}
	m := &Metrics{
		requests:     counter("requests_total", "Answered requests.", "backend", "outcome", "reason"),
		errors:       counter("request_errors_total", "Requests that ended in an error.", "backend", "code"),
		evictions:    counter("evictions_total", "Entries that were evicted.", "backend", "cause"),
		evictedBytes: counter("evicted_bytes_total", "Bytes that evicted entries held.", "backend", "cause"),
		downloaded:   counter("downloaded_bytes_total", "Bytes that fills have read from image sources.", "backend"),
		saved:        counter("saved_bytes_total", "Bytes that requests would have downloaded without the cache.", "backend"),
		fillSpent:    counter("fill_phase_seconds_total", "Seconds that fills which became ready spent in each phase.", "backend", "phase"),
		fillErrors:   counter("fill_errors_total", "Fills that came to nothing.", "backend", "code"),
		took:         durations("request_duration_seconds", "Time from request to answer.", "backend", "outcome"),
		fillTook:     durations("fill_duration_seconds", "Time that fills took.", "backend", "result"),
		fills: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "clonecache_fills_in_flight", Help: "Fills in flight in this process."}, []string{"backend"}),
	}
	reg.MustRegister(m.requests, m.took, m.errors, m.fills, m.fillTook, m.fillSpent, m.fillErrors, m.evictions, m.evictedBytes, m.downloaded, m.saved)
	return m
}

// buildInfo says which program this is.
func buildInfo(version string) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "clonecache_build_info", Help: "1; the labels say which program this is."}, []string{"version", "goversion"})
	info.WithLabelValues(labels(version, runtime.Version())...).Set(1)
	return info
}

// Expect lets every series of a backend, or of a file cache, be there before anything has happened: a counter that
// appears with its first event hides that event from a rate.
func (m *Metrics) Expect(backend backends.Name, kind Kind) {
	name := labels(string(backend))[0]
	m.fills.WithLabelValues(name)
	m.downloaded.WithLabelValues(name)
	for _, result := range []string{fillReady, fillFailed} {
		m.fillTook.WithLabelValues(name, result)
	}
	for phase := range phases(catalog.FillPhases{}) {
		m.fillSpent.WithLabelValues(name, phase)
	}
	for _, cause := range words.EvictCauses() {
		m.evictions.WithLabelValues(name, string(cause))
		m.evictedBytes.WithLabelValues(name, string(cause))
	}
	codes := append([]row{}, table...)
	for _, r := range append(codes, internal) {
		m.fillErrors.WithLabelValues(name, r.code)
		if kind == Volumed {
			m.errors.WithLabelValues(name, r.code)
		}
	}
	if kind != Volumed {
		return
	}
	m.saved.WithLabelValues(name)
	for outcome, reasons := range plugin.Outcomes() {
		m.took.WithLabelValues(name, string(outcome))
		for _, reason := range reasons {
			m.requests.WithLabelValues(name, string(outcome), string(reason))
		}
	}
}

// Kind tells backends from file caches.
type Kind int

const (
	// Volumed is a backend: requests are made to it.
	Volumed Kind = iota + 1
	// FileCached is a file cache.
	FileCached
)

// durations is a histogram from a quarter of a millisecond, a quick clone, to 10 min, a large download.
func durations(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "clonecache_" + name, Help: help,
		Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600},
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
	result := fillReady
	if err != nil {
		result = fillFailed
		m.fillErrors.WithLabelValues(labels(string(store), Code(err))...).Inc()
	}
	m.fills.WithLabelValues(labels(string(store))...).Dec()
	m.fillTook.WithLabelValues(labels(string(store), result)...).Observe(took.Seconds())
}

// FillSpent implements plugin.Observer.
func (m *Metrics) FillSpent(store backends.Name, p catalog.FillPhases) {
	for phase, took := range phases(p) {
		m.fillSpent.WithLabelValues(labels(string(store), phase)...).Add(max(took, 0).Seconds())
	}
}

// phases are a fill's by the names that the report has for them.
func phases(p catalog.FillPhases) map[string]time.Duration {
	return map[string]time.Duration{"waiting": p.Waiting, "quota": p.Quota, "source": p.Source, "decode": p.Decode, "write": p.Write, "commit": p.Commit}
}

// Evicted implements plugin.Observer.
func (m *Metrics) Evicted(store backends.Name, cause string, bytes int64) {
	m.evictions.WithLabelValues(labels(string(store), cause)...).Inc()
	m.evictedBytes.WithLabelValues(labels(string(store), cause)...).Add(float64(max(bytes, 0)))
}

// Downloaded implements plugin.Observer.
func (m *Metrics) Downloaded(store backends.Name, bytes int64) {
	m.downloaded.WithLabelValues(labels(string(store))...).Add(float64(max(bytes, 0)))
}

// Saved implements plugin.Observer.
func (m *Metrics) Saved(backend backends.Name, bytes int64) {
	m.saved.WithLabelValues(labels(string(backend))...).Add(float64(max(bytes, 0)))
}
