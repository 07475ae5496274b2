package plugin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
)

// Report is the clone-cache report of one backend or file cache, or of all (""), since a time; the zero
// time is the beginning.
func (p *Plugin) Report(ctx context.Context, backend backends.Name, since time.Time) (report.Report, error) {
	return p.Controls().ReportOf(ctx, ReportQuery{Backend: backend, Span: catalog.Span{Since: since}})
}

// ReportQuery says what a report is of. The zero one is of all that is kept.
type ReportQuery struct {
	Backend backends.Name // or file cache; "": all
	catalog.Span
	By report.By // ByHost, ByProject: their shares too, which are of all backends
}

// ReportOf is the clone-cache report of a span of time, whose minutes count whole. What stands now is told as it stands now.
// ErrBadRequest: the shares of hosts and projects are asked for of one backend. ErrUnknownBackend: nothing was counted on it either, as
// on one that has left the configuration.
func (c Controls) ReportOf(ctx context.Context, q ReportQuery) (report.Report, error) {
	p := c.p
	if err := q.check(); err != nil {
		return report.Report{}, err
	}
	if err := p.books.flushToRead(ctx); err != nil {
		return report.Report{}, err
	}
	held, err := p.catalog.Held(ctx)
	if err != nil {
		return report.Report{}, err
	}
	in := report.Input{Since: sinceOrNil(q.Since), Until: sinceOrNil(q.Until), By: q.By}
	for _, s := range p.stock.configuredStores() {
		if q.Backend == "" || s.name == q.Backend {
			in.Stores = append(in.Stores, s.reported(held[s.id()]))
		}
	}
	if err := p.books.sums(ctx, q, &in); err != nil {
		return report.Report{}, err
	}
	if q.Backend != "" {
		only(&in, q.Backend)
	}
	if err := p.stock.asked(q.Backend, len(in.Requests)+len(in.Evictions)+len(in.Fills)); err != nil {
		return report.Report{}, err
	}
	return report.Build(in), nil
}

// Course is what the cache did over time, from since until now, as far as it is kept. Requests that were answered since the last
// flush may be missing.
func (c Controls) Course(ctx context.Context, since, now time.Time) (report.Course, error) {
	step := report.StepOf(since, now)
	counted, err := c.p.catalog.Course(ctx, catalog.Span{Since: since}, step)
	if err != nil {
		return report.Course{}, err
	}
	return report.CourseOf(counted, since, now, step), nil
}

// check refuses what is not counted.
func (q ReportQuery) check() error {
	if q.Backend != "" && (q.By == report.ByHost || q.By == report.ByProject) {
		return fmt.Errorf("%w: what hosts and projects did is counted on all backends together: leave the backend out", ErrBadRequest)
	}
	return nil
}

// reported is what the report says of a store and of what it holds.
func (s *store) reported(h catalog.Held) report.Store {
	return report.Store{
		Name: s.name, Kind: s.images.Info().Kind, Entries: h.Entries, HeldBytes: h.Bytes,
		DetachedBytes: h.DetachedBytes, MaxSizeBytes: s.limit().bounds.MaxBytes, MaxCount: s.limit().bounds.MaxCount,
	}
}

// sums adds what was counted in a span of time.
func (b *books) sums(ctx context.Context, q ReportQuery, in *report.Input) error {
	sums, err := b.catalog.SumsIn(ctx, q.Span)
	if err != nil {
		return err
	}
	in.Requests, in.Evictions, in.Fills, in.Work, in.Latencies = sums.Requests, sums.Evictions, sums.Fills, sums.Work, sums.Latencies
	if q.By != report.ByHost {
		return nil
	}
	hosts, err := b.catalog.Hosts(ctx)
	in.HostNames = make(map[catalog.InstanceID]string, len(hosts))
	for _, h := range hosts {
		in.HostNames[h.ID] = h.Name
	}
	return err
}

// only leaves the sums of one backend or file cache.
func only(in *report.Input, backend backends.Name) {
	in.Latencies = slices.DeleteFunc(in.Latencies, func(l catalog.LatencyStat) bool { return l.Backend != backend })
	in.Requests = slices.DeleteFunc(in.Requests, func(r catalog.RequestStat) bool { return r.Backend != backend })
	in.Evictions = slices.DeleteFunc(in.Evictions, func(e catalog.EvictionStat) bool { return e.Store != backend })
	in.Fills = slices.DeleteFunc(in.Fills, func(f catalog.FillStat) bool { return f.Store != backend })
}

// sinceOrNil is how the report writes a time that may be the beginning.
func sinceOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}
