package api

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clonecache/clonecache/plugin"
)

// Outlets is a Service that sends events to others.
type Outlets interface {
	// Sinks are where they go to, and how far each has come. Nobody is asked.
	Sinks() []plugin.SinkView
}

func (s *Server) sinkRoutes() {
	route(s, get("list-sinks", "/v1/sinks", "Where events are sent to, how far each has come, and what was given up"), func(_ context.Context, svc Service, _ *none) (*output[[]plugin.SinkView], error) {
		if out, sends := svc.(Outlets); sends {
			return listed(out.Sinks(), nil)
		}
		return listed[plugin.SinkView](nil, nil)
	})
}

// Sinks lists where events are sent to.
func (c *Client) Sinks(ctx context.Context) ([]plugin.SinkView, error) {
	return fetch[[]plugin.SinkView](ctx, c, call{method: http.MethodGet, path: "/v1/sinks"})
}

// sinkGauges reads how sinks are when it is scraped.
type sinkGauges struct{ Outlets }

// sinkMetric is one metric of a sink.
type sinkMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(plugin.SinkView) float64
}

func sinkMetrics() []sinkMetric {
	metric := func(name, help string, kind prometheus.ValueType, value func(plugin.SinkView) float64) sinkMetric {
		return sinkMetric{prometheus.NewDesc("clonecache_sink_"+name, help, []string{"sink"}, nil), kind, value}
	}
	return []sinkMetric{
		metric("sent_total", "Events that the sink took.", prometheus.CounterValue, func(v plugin.SinkView) float64 { return float64(v.Sent) }),
		metric("failures_total", "Attempts that failed.", prometheus.CounterValue, func(v plugin.SinkView) float64 { return float64(v.Failures) }),
		metric("dead_letters_total", "Events that were given up for good.", prometheus.CounterValue, func(v plugin.SinkView) float64 { return float64(v.DeadCount) }),
		metric("lost_events_total", "Events of all kinds that the log dropped before the sink could take them.", prometheus.CounterValue, func(v plugin.SinkView) float64 { return float64(v.Lost) }),
		metric("behind_seconds", "How long ago the event happened that the sink does not take; 0 where it has them all.", prometheus.GaugeValue,
			func(v plugin.SinkView) float64 { return v.BehindSeconds }),
	}
}

// Describe implements prometheus.Collector.
func (g sinkGauges) Describe(out chan<- *prometheus.Desc) {
	for _, m := range sinkMetrics() {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (g sinkGauges) Collect(out chan<- prometheus.Metric) {
	for _, v := range g.Sinks() {
		for _, m := range sinkMetrics() {
			out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(v), v.Name)
		}
	}
}
