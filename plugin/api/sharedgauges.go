package api

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// sharedGauges reads what all daemons on the catalog share when it is scraped.
type sharedGauges struct {
	queued func(context.Context) ([]plugin.QueuedView, error)
	hosts  func(context.Context) ([]plugin.HostView, error)
	away   func() *plugin.CatalogAway
}

func queueImages() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_queue_images", "Images in the queue; those done are of the last hour.", []string{"state"}, nil)
}

func hostsDesc() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_hosts", "Daemons on the catalog.", []string{"state"}, nil)
}

func catalogUp() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_catalog_up", "1 where the catalog's database answers.", nil, nil)
}

// Describe implements prometheus.Collector.
func (g *sharedGauges) Describe(out chan<- *prometheus.Desc) {
	out <- queueImages()
	out <- hostsDesc()
	out <- catalogUp()
}

// Collect implements prometheus.Collector. A catalog that does not answer is down, and costs the scrape what it would tell.
func (g *sharedGauges) Collect(out chan<- prometheus.Metric) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	up := 1.0
	if g.away() != nil {
		up = 0
	}
	out <- prometheus.MustNewConstMetric(catalogUp(), prometheus.GaugeValue, up)
	if up == 0 {
		return
	}
	if queued, err := g.queued(ctx); err == nil {
		counts(out, queueImages(), []catalog.QueueState{catalog.QueueWaiting, catalog.QueueRunning, catalog.QueueDone, catalog.QueueFailed},
			queued, func(q plugin.QueuedView) catalog.QueueState { return catalog.QueueState(q.State) })
	}
	if hosts, err := g.hosts(ctx); err == nil {
		counts(out, hostsDesc(), []catalog.HostState{catalog.HostUp, catalog.HostStopped, catalog.HostLost},
			hosts, func(h plugin.HostView) catalog.HostState { return h.State })
	}
}

// counts tells how many are in each state, those of which there are none too.
func counts[T any, S ~string](out chan<- prometheus.Metric, desc *prometheus.Desc, states []S, all []T, of func(T) S) {
	in := make(map[S]int)
	for _, one := range all {
		in[of(one)]++
	}
	for _, state := range states {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(in[state]), string(state))
	}
}
