package api

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// wrong is something that a person should look at.
type wrong struct{ What, Remedy string }

// wrongs are what is wrong now, by what is known without waiting for others.
func (s *Server) wrongs(ctx context.Context, svc Service, d overviewData) []wrong {
	var all []wrong
	add := func(remedy, format string, args ...any) {
		all = append(all, wrong{fmt.Sprintf(format, args...), remedy})
	}
	if away := svc.CatalogAway(); away != nil {
		add("Hits go on, images that are not cached are bypassed. Look at the database, and at [catalog].", "The catalog's database does not answer: %s", away.Error)
	}
	for _, u := range svc.Unavailable() {
		add("`clonecache config check FILE` names the remedy; it is tried again every minute.", "Backend %s does not answer: %s", u.Name, u.Error)
	}
	for _, b := range d.Backends {
		if n := b.Scrub.Quarantined; n > 0 {
			add("Nothing is made from them any more; `clonecache check` names the volumes that were, and what to do.", "Image-volumes of %s that are damaged, and in quarantine: %d", b.Name, n)
		}
	}
	for _, source := range svc.Sources() {
		if source.State == "down" {
			add("Mend it; serve_stale keeps hits going meanwhile.", "Image source %s does not answer: %s", source.Name, source.Error)
		}
	}
	for _, h := range d.Hosts {
		if h.State == catalog.HostLost {
			add("Start it again; if it is gone for good, `clonecache host remove`.", "Host %s is lost", h.Name)
		}
	}
	for _, q := range d.Quotas {
		if !q.Unlimited && q.Limit > 0 && q.InUse*100 >= q.Limit*95 {
			add("Raise it, or delete entries.", "The internal tenant's quota of %s is nearly used: %d of %d", q.Name, q.InUse, q.Limit)
		}
	}
	if queued, err := svc.Queued(ctx); err == nil {
		if n := len(slices.DeleteFunc(queued, func(q plugin.QueuedView) bool { return q.State != string(catalog.QueueFailed) })); n > 0 {
			add("The page of fills has their errors; `clonecache queue retry --all` once they are mended.", "Images of the queue that failed for good: %d", n)
		}
	}
	if out, sends := svc.(Outlets); sends {
		for _, v := range out.Sinks() {
			if v.BehindSeconds > 60 {
				add("`clonecache sink list` has more.", "%s does not take events: %s", v.Name, v.LastError)
			}
		}
	}
	return append(all, fallbacks(d)...)
}

// fallbacks are the reasons for which the cache stepped aside lately, with what helps.
func fallbacks(d overviewData) []wrong {
	var all []wrong
	for _, reason := range []struct{ word, remedy string }{
		{"over_quota", "Raise the internal tenant's quota, or delete entries."},
		{"no_room", "Unpin entries, or raise max_size and max_count."},
		{"backend_full", "Delete volumes or entries, or add storage."},
		{"cache_error", "Look into the daemon's log: is the disk of state_dir full?"},
	} {
		if n := d.Report.Total.Fallbacks[reason.word]; n > 0 {
			all = append(all, wrong{fmt.Sprintf("%d requests since %s were not served from the cache: %s", n, d.Since, reason.word), reason.remedy})
		}
	}
	return all
}

// outcomeTime is how long requests of one outcome took.
type outcomeTime struct {
	Outcome       string
	Count         uint64
	MeanMS, P95MS float64
}

// times are those of this daemon's requests since its start, by outcome, of all backends.
func (s *Server) times() []outcomeTime {
	families, err := prometheus.Gatherers{s.cfg.Registry}.Gather()
	if err != nil && len(families) == 0 {
		return nil
	}
	var all []outcomeTime
	for _, f := range families {
		if f.GetName() == "clonecache_request_duration_seconds" {
			for outcome, h := range byOutcome(f.GetMetric()) {
				all = append(all, outcomeTime{outcome, h.count, h.sum / float64(h.count) * 1000, h.within(0.95) * 1000})
			}
		}
	}
	slices.SortFunc(all, func(a, b outcomeTime) int { return int(b.Count) - int(a.Count) })
	return all
}

// histogram is the sum of several with the same buckets.
type histogram struct {
	count   uint64
	sum     float64
	bounds  []float64
	buckets []uint64 // cumulative
}

func byOutcome(metrics []*dto.Metric) map[string]*histogram {
	all := make(map[string]*histogram)
	for _, m := range metrics {
		if m.GetHistogram().GetSampleCount() == 0 {
			continue
		}
		for _, label := range m.GetLabel() {
			if label.GetName() != "outcome" {
				continue
			}
			h := all[label.GetValue()]
			if h == nil {
				h = &histogram{}
				all[label.GetValue()] = h
			}
			h.add(m.GetHistogram())
		}
	}
	return all
}

func (h *histogram) add(more *dto.Histogram) {
	h.count += more.GetSampleCount()
	h.sum += more.GetSampleSum()
	for i, b := range more.GetBucket() {
		if i == len(h.bounds) {
			h.bounds, h.buckets = append(h.bounds, b.GetUpperBound()), append(h.buckets, 0)
		}
		h.buckets[i] += b.GetCumulativeCount()
	}
}

// within is the least bound that so many of the values lie within.
func (h *histogram) within(share float64) float64 {
	want := uint64(math.Ceil(share * float64(h.count)))
	for i, n := range h.buckets {
		if n >= want {
			return h.bounds[i]
		}
	}
	return h.sum
}

func shownPercent(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) + " %" }
