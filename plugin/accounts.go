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
	if err := p.asked(backend, 0); err != nil {
		return report.Report{}, err
	}
	if err := p.flushToRead(ctx); err != nil {
		return report.Report{}, err
	}
	in := report.Input{Since: sinceOrNil(since)}
	held, err := p.catalog.Held(ctx)
	if err != nil {
		return report.Report{}, err
	}
	for _, s := range p.orderedStores() {
		if backend != "" && s.name != backend {
			continue
		}
		h := held[s.id()]
		in.Stores = append(in.Stores, report.Store{
			Name: s.name, Kind: s.images.Info().Kind, Entries: h.Entries, HeldBytes: h.Bytes,
			DetachedBytes: h.DetachedBytes, MaxSizeBytes: s.bounds.MaxBytes, MaxCount: s.bounds.MaxCount,
		})
	}
	if in.Requests, err = p.catalog.Requests(ctx, since); err != nil {
		return report.Report{}, err
	}
	if in.Evictions, err = p.catalog.Evictions(ctx, since); err != nil {
		return report.Report{}, err
	}
	if in.Fills, err = p.catalog.Fills(ctx, since); err != nil {
		return report.Report{}, err
	}
	if backend != "" {
		in.Requests = slices.DeleteFunc(in.Requests, func(r catalog.RequestStat) bool { return r.Backend != backend })
		in.Evictions = slices.DeleteFunc(in.Evictions, func(e catalog.EvictionStat) bool { return e.Store != backend })
		in.Fills = slices.DeleteFunc(in.Fills, func(f catalog.FillStat) bool { return f.Store != backend })
	}
	return report.Build(in), nil
}
