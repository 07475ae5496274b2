package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// Clean removes what no entry needs any more: rows of failed fills, image-volumes that a dead process
// left, detached ones whose clones are gone, claims for nothing, and sums older than ReportRetention. What was
// left half made or half removed of volumes is ended too.
func (p *Plugin) Clean(ctx context.Context) (CleanResult, error) { return p.reconciler.clean(ctx) }

func (rec *reconciler) clean(ctx context.Context) (CleanResult, error) {
	r := CleanResult{Unavailable: []UnavailableView{}}
	failed, err := rec.catalog.List(ctx, catalog.Filter{States: []catalog.State{catalog.Failed}})
	if err != nil {
		return r, err
	}
	for _, e := range failed {
		err := rec.catalog.Remove(ctx, e.ID)
		if errors.Is(err, catalog.ErrLost) {
			continue // a request fills it again
		}
		if err != nil {
			return r, err
		}
		r.FailedEntries++
	}
	rec.ladder.settleOpen(ctx)
	rec.inherit(ctx)
	for _, s := range rec.stock.orderedStores() {
		reaped, err := rec.stock.reap(ctx, s)
		if rec.stock.leaveOut(&r.Unavailable, s, err) {
			rec.log.WithField("backend", s.name).WithError(err).Warn("not cleaned: it does not answer")
			continue
		}
		if err != nil {
			return r, fmt.Errorf("reap %s: %w", s.name, err)
		}
		r.Reaped += len(reaped.ImageVolumes)
		r.FreedBytes += reaped.FreedBytes
	}
	if err := rec.aloneWithAll(ctx, func(ctx context.Context) error { return rec.cleanFindings(ctx, &r) }); err != nil {
		return r, err
	}
	return r, rec.catalog.Prune(ctx, rec.catalogTime().Add(-rec.cfg.ReportRetention))
}

func (rec *reconciler) cleanFindings(ctx context.Context, r *CleanResult) error {
	findings, err := rec.surveyor.survey(ctx, rec.surveyor.everything())
	if err != nil {
		return err
	}
	for _, f := range findings {
		if err := rec.cleanFinding(ctx, f, r); err != nil {
			return err
		}
	}
	return nil
}

// notCleaned notes a store that was not looked at, unless that is known.
func (rec *reconciler) notCleaned(r *CleanResult, f finding) {
	if !slices.ContainsFunc(r.Unavailable, func(u UnavailableView) bool { return u.Name == f.Backend }) {
		r.Unavailable = append(r.Unavailable, UnavailableView{Name: f.Backend, Since: rec.now().UTC(), Error: f.Detail})
	}
}

// cleanFinding mends only what removes something that nobody needs.
func (rec *reconciler) cleanFinding(ctx context.Context, f finding, r *CleanResult) error {
	switch f.Kind {
	case "unfinished-image-volume":
		r.Leftovers++
	case "unknown-claim":
		r.Claims++
	case backendDown:
		rec.notCleaned(r, f)
		return nil
	default:
		return nil
	}
	return rec.mend(ctx, f)
}
