package api

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clonecache/clonecache/plugin"
)

// storeGauges reads the stores when it is scraped.
type storeGauges struct {
	backends func(context.Context) ([]plugin.BackendView, error)
	fills    func() []plugin.FillView
	sources  func() []plugin.SourceView
	loans    func(context.Context) ([]plugin.LoanView, error)
	away     func() *plugin.CatalogAway
}

// storeGauge is one gauge of a store.
type storeGauge struct {
	desc  *prometheus.Desc
	value func(plugin.BackendView) float64
}

func storeGaugeList() []storeGauge {
	gauge := func(name, help string, value func(plugin.BackendView) float64) storeGauge {
		return storeGauge{prometheus.NewDesc("clonecache_"+name, help, []string{"backend"}, nil), value}
	}
	return []storeGauge{
		gauge("backend_up", "1 where the backend answers.", func(b plugin.BackendView) float64 {
			if b.Available {
				return 1
			}
			return 0
		}),
		gauge("entries", "Entries that bounds count.", func(b plugin.BackendView) float64 { return float64(b.Entries) }),
		gauge("held_bytes", "Bytes that bounds count.", func(b plugin.BackendView) float64 { return float64(b.HeldBytes) }),
		gauge("detached_bytes", "Bytes held by retired image-volumes with live clones.", func(b plugin.BackendView) float64 { return float64(b.DetachedBytes) }),
		gauge("quarantined_entries", "Entries whose image-volumes are damaged: nothing is made from them.", func(b plugin.BackendView) float64 { return float64(b.Scrub.Quarantined) }),
		gauge("scrub_due_entries", "Entries that were not read back for scrub_every.", func(b plugin.BackendView) float64 { return float64(b.Scrub.Due) }),
		gauge("max_size_bytes", "Bound of held bytes; 0 is unbounded.", func(b plugin.BackendView) float64 { return float64(b.MaxSizeBytes) }),
		gauge("max_entries", "Bound of entries; 0 is unbounded.", func(b plugin.BackendView) float64 { return float64(b.MaxCount) }),
	}
}

func waiting() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_waiting_requests", "Requests that wait for fills.", []string{"backend"}, nil)
}

func freeBytes() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_free_bytes", "Bytes left on the backend.", []string{"backend"}, nil)
}

func totalBytes() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_total_bytes", "Bytes of the backend, whoever uses them.", []string{"backend"}, nil)
}

// Describe implements prometheus.Collector.
func (g *storeGauges) Describe(out chan<- *prometheus.Desc) {
	for _, gauge := range storeGaugeList() {
		out <- gauge.desc
	}
	out <- freeBytes()
	out <- totalBytes()
	out <- waiting()
	out <- sourceUp()
	out <- staleAnswers()
	out <- loansDesc()
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
// gauges, not the others; a catalog that is known not to answer is not waited for.
func (g *storeGauges) Collect(out chan<- prometheus.Metric) {
	const patience = 2 * time.Second
	g.collectSources(out)
	if g.away() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	views, err := g.backends(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(storeGaugeList()[0].desc, err)
		return
	}
	g.collectLoans(ctx, views, out)
	waiters := make(map[string]int)
	for _, f := range g.fills() {
		waiters[string(f.Backend)] += f.Waiters
	}
	for _, b := range views {
		out <- prometheus.MustNewConstMetric(waiting(), prometheus.GaugeValue, float64(waiters[string(b.Name)]), string(b.Name))
		for _, gauge := range storeGaugeList() {
			out <- prometheus.MustNewConstMetric(gauge.desc, prometheus.GaugeValue, gauge.value(b), string(b.Name))
		}
		if b.TotalBytes > 0 {
			out <- prometheus.MustNewConstMetric(freeBytes(), prometheus.GaugeValue, float64(b.FreeBytes), string(b.Name))
			out <- prometheus.MustNewConstMetric(totalBytes(), prometheus.GaugeValue, float64(b.TotalBytes), string(b.Name))
		}
	}
}

// quotaFresh is how long an answer about the quota is good for: it may be a call over the network, and several may
// scrape.
const quotaFresh = 30 * time.Second

// quotaGauges reads the internal tenant's quota when it is scraped.
type quotaGauges struct {
	use func(context.Context) (plugin.Quota, error)
	now func() time.Time

	mu   sync.Mutex // held while the quota is asked for: one at a time
	at   time.Time
	last plugin.Quota
	err  error
}

func quotaDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("clonecache_quota_"+name, help, labels, nil)
}

func quotaUp() *prometheus.Desc {
	return quotaDesc("up", "1 where the service that keeps the internal tenant's quota answers.")
}

func quotaLimit() *prometheus.Desc {
	return quotaDesc("limit", "The internal tenant's limit; absent where there is none.", "resource")
}

func quotaInUse() *prometheus.Desc {
	return quotaDesc("in_use", "What the internal tenant uses, as its service counts.", "resource")
}

func quotaReserved() *prometheus.Desc {
	return quotaDesc("reserved", "What fills in flight have reserved.", "resource")
}

// Describe implements prometheus.Collector.
func (g *quotaGauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{quotaUp(), quotaLimit(), quotaInUse(), quotaReserved()} {
		out <- d
	}
}

// Collect implements prometheus.Collector. A service that does not answer in time is down, and costs the scrape no more.
func (g *quotaGauges) Collect(out chan<- prometheus.Metric) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	q, err := g.ask(ctx)
	gauge := func(d *prometheus.Desc, value int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	if err != nil {
		gauge(quotaUp(), 0)
		return
	}
	gauge(quotaUp(), 1)
	for _, r := range []struct {
		name string
		plugin.QuotaAmounts
	}{{"volumes", q.Volumes}, {"gigabytes", q.Gigabytes}} {
		if !r.Unlimited {
			gauge(quotaLimit(), r.Limit, r.name)
		}
		gauge(quotaInUse(), r.InUse, r.name)
		gauge(quotaReserved(), r.Reserved, r.name)
	}
}

// ask asks, unless the last answer is fresh.
func (g *quotaGauges) ask(ctx context.Context) (plugin.Quota, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.now(); g.at.IsZero() || now.Sub(g.at) > quotaFresh {
		g.last, g.err = g.use(ctx)
		g.at = now
	}
	return g.last, g.err
}
