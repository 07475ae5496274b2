package api

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// kindOfLenders is the kind of backends that lend their image-volumes.
const kindOfLenders = "cinder"

func loansDesc() *prometheus.Desc {
	return prometheus.NewDesc("clonecache_loans", "Image-volumes that are lent, counted once for each volume that is being made.", []string{"backend"}, nil)
}

// collectLoans counts the loans that live. The catalog is asked only where a backend lends; one that does not answer costs the
// scrape this gauge.
func (g *storeGauges) collectLoans(ctx context.Context, views []plugin.BackendView, out chan<- prometheus.Metric) {
	lent := make(map[backends.Name]int)
	for _, b := range views {
		if b.Kind == kindOfLenders {
			lent[b.Name] = 0
		}
	}
	if len(lent) == 0 {
		return
	}
	all, err := g.loans(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(loansDesc(), err)
		return
	}
	for _, l := range all {
		if _, ours := lent[l.Backend]; ours && l.Volume != "" { // else it is another host's, or is only kept
			lent[l.Backend]++
		}
	}
	for name, n := range lent {
		out <- prometheus.MustNewConstMetric(loansDesc(), prometheus.GaugeValue, float64(n), string(name))
	}
}
