package plugin

import (
	"cmp"
	"context"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// PlannedCleaning is something that Clean would remove.
type PlannedCleaning struct {
	Kind    string `json:"kind" enum:"failed-fill,detached,leftover,claim" doc:"failed-fill: a row of a failed fill; detached: an image-volume whose last clone is gone; leftover: an image-volume that no entry names; claim: a quota claim without an image-volume"`
	Backend string `json:"backend"`
	ID      string `json:"id" doc:"Of the entry, the image-volume or the claim"`
	Bytes   int64  `json:"bytes" doc:"What comes free; 0 where it is not known"`
	Why     string `json:"why" doc:"For people: why it serves nothing any more"`
}

// PlanClean tells in Planned what Clean would remove, and why, and removes nothing. What a fill makes, or what ends
// meanwhile, may come to be otherwise. The errors are Clean's.
func (c Controls) PlanClean(ctx context.Context) (CleanResult, error) {
	rec := c.p.reconciler
	r := CleanResult{Planned: []PlannedCleaning{}, Unavailable: []UnavailableView{}}
	for _, plan := range []func(context.Context, *CleanResult) error{rec.planFailed, rec.planReaping, rec.planFindings} {
		if err := plan(ctx, &r); err != nil {
			return CleanResult{}, err
		}
	}
	return r, nil
}

func (rec *reconciler) planFailed(ctx context.Context, r *CleanResult) error {
	failed, err := rec.catalog.List(ctx, catalog.Filter{States: []catalog.State{catalog.Failed}})
	for _, e := range failed {
		r.FailedEntries++
		r.Planned = append(r.Planned, PlannedCleaning{Kind: "failed-fill", Backend: string(rec.stock.label(e.Store)), ID: string(e.ID),
			Why: "its fill failed: " + cmp.Or(e.LastError, "nobody noted why")})
	}
	return err
}

// planReaping plans what reap would do. A store that does not answer is left out, as there.
func (rec *reconciler) planReaping(ctx context.Context, r *CleanResult) error {
	for _, s := range rec.stock.orderedStores() {
		err := rec.planReapingOf(ctx, s, r)
		if rec.stock.leaveOut(&r.Unavailable, s, err) {
			rec.log.WithField("backend", s.name).WithError(err).Warn("not planned to be cleaned: it does not answer")
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (rec *reconciler) planReapingOf(ctx context.Context, s *store, r *CleanResult) error {
	if err := s.down(); err != nil {
		return err
	}
	if s.id() == "" {
		return fmt.Errorf("%w: %s has not answered yet", backends.ErrUnavailable, s.name)
	}
	entries, err := rec.catalog.List(ctx, catalog.Filter{Store: s.id(), States: []catalog.State{catalog.Detached}})
	if err != nil {
		return err
	}
	for _, e := range entries {
		iv, err := findImageVolume(ctx, s, e.ImageVolume)
		if err != nil {
			return fmt.Errorf("look at image-volume %s on %s: %w", e.ImageVolume, s.name, err)
		}
		if iv.Clones > 0 || rec.stock.isLent(ctx, s, e) {
			continue
		}
		r.Reaped++
		r.FreedBytes += iv.HeldBytes
		r.Planned = append(r.Planned, PlannedCleaning{Kind: "detached", Backend: string(s.name), ID: string(e.ID), Bytes: iv.HeldBytes,
			Why: "its entry was removed, and its last clone is gone"})
	}
	return nil
}

func (rec *reconciler) planFindings(ctx context.Context, r *CleanResult) error {
	findings, err := rec.surveyor.survey(ctx, rec.surveyor.everything())
	for _, f := range findings {
		var kind string
		switch f.Kind {
		case "unfinished-image-volume":
			r.Leftovers++
			kind = "leftover"
		case "unknown-claim":
			r.Claims++
			kind = "claim"
		case backendDown:
			rec.notCleaned(r, f)
			continue
		default:
			continue
		}
		r.Planned = append(r.Planned, PlannedCleaning{Kind: kind, Backend: string(f.Backend), ID: f.ID, Why: f.Detail})
	}
	return err
}
