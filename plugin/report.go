package plugin

import (
	"context"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/report"
)

// Report is the clone-cache report of one backend or file cache, or of all (""), since a time; the zero
// time is the beginning.
func (p *Plugin) Report(ctx context.Context, backend backends.Name, since time.Time) (report.Report, error) {
	return p.Controls().ReportOf(ctx, backend, catalog.Span{Since: since})
}

// ReportOf is the clone-cache report of a span of time, whose minutes count whole. What stands now is told as it stands now.
func (c Controls) ReportOf(ctx context.Context, backend backends.Name, span catalog.Span) (report.Report, error) {
	p := c.p
	if err := p.stock.asked(backend, 0); err != nil {
		return report.Report{}, err
	}
	if err := p.books.flushToRead(ctx); err != nil {
		return report.Report{}, err
	}
	held, err := p.catalog.Held(ctx)
	if err != nil {
		return report.Report{}, err
	}
	in := report.Input{Since: sinceOrNil(span.Since), Until: sinceOrNil(span.Until)}
	for _, s := range p.stock.orderedStores() {
		if backend == "" || s.name == backend {
			in.Stores = append(in.Stores, s.reported(held[s.id()]))
		}
	}
	if err := p.books.sums(ctx, span, &in); err != nil {
		return report.Report{}, err
	}
	if backend != "" {
		only(&in, backend)
	}
	return report.Build(in), nil
}

// reported is what the report says of a store and of what it holds.
func (s *store) reported(h catalog.Held) report.Store {
	return report.Store{
		Name: s.name, Kind: s.images.Info().Kind, Entries: h.Entries, HeldBytes: h.Bytes,
		DetachedBytes: h.DetachedBytes, MaxSizeBytes: s.limit().bounds.MaxBytes, MaxCount: s.limit().bounds.MaxCount,
	}
}

// sums adds what was counted in a span of time.
func (b *books) sums(ctx context.Context, span catalog.Span, in *report.Input) (err error) {
	if in.Requests, err = b.catalog.RequestsIn(ctx, span); err != nil {
		return err
	}
	if in.Evictions, err = b.catalog.EvictionsIn(ctx, span); err != nil {
		return err
	}
	in.Fills, err = b.catalog.FillsIn(ctx, span)
	return err
}

// only leaves the sums of one backend or file cache.
func only(in *report.Input, backend backends.Name) {
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
