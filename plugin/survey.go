package plugin

import (
	"context"
	"fmt"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// surveyor finds out where catalog, stores and claims do not agree, and how that is mended. It owns nothing and mends
// nothing itself; all that it writes is how many clones were counted.
type surveyor struct {
	*house
	mender *mender
	stock  *stock
}

// survey compares the catalog with the stores of a scope and, if they are in it, with the internal tenant's claims. A store that does
// not answer is a finding itself, and nothing is concluded about what it holds. The findings are in the order in which
// they are to be mended.
func (v *surveyor) survey(ctx context.Context, in scope) ([]finding, error) {
	var all []finding
	compared := new(comparedClaims)
	for _, s := range in.stores {
		found, err := v.surveyStore(ctx, s, compared)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if in.claims {
		claims, err := v.surveyClaims(ctx, adopting(all))
		if err != nil {
			return nil, err
		}
		compared.all = !slices.ContainsFunc(claims, func(f finding) bool { return f.Kind == quotaDown })
		all = append(all, claims...)
	}
	return inOrder(all), nil
}

// comparedClaims tells who mends whether the claims were compared: what is charged for nothing was found then, and is given back
// before anything is adopted.
type comparedClaims struct{ all bool }

// surveyStore lists the store, then the rows, then the store again, while fills and evictions go on. An image-volume is
// unknown if both listings show it and no row names it. A row's image-volume is missing if the second listing lacks it.
func (v *surveyor) surveyStore(ctx context.Context, s *store, claims *comparedClaims) ([]finding, error) {
	if err := v.stock.ensure(ctx, s); err != nil {
		return []finding{unavailable(s, err)}, ctx.Err()
	}
	before, err := listStore(ctx, s)
	if err != nil {
		v.stock.reached(s, err)
		return []finding{unavailable(s, err)}, nil
	}
	rows, err := v.catalog.List(ctx, catalog.Filter{Store: s.id()})
	if err != nil {
		return nil, err
	}
	after, err := listStore(ctx, s)
	if err != nil {
		return []finding{unavailable(s, err)}, nil
	}
	if rows, err = v.noteClones(ctx, s, rows, after); err != nil {
		return nil, err
	}
	findings := before.findings(s)
	named := make(map[backends.ImageVolumeID]bool, len(rows))
	for _, e := range rows {
		named[e.ImageVolume] = true
		if f := v.surveyRow(s, e, after); f != nil {
			findings = append(findings, *f)
		}
	}
	for id, iv := range after.read {
		if before.has(id) && !named[id] && after.damaged[id] == nil { // such a one may be anybody's
			findings = append(findings, v.unknown(s, iv, claims))
		}
	}
	return findings, nil
}

// noteClones brings the live clones of rows up to date, before anything is compared: that some were deleted
// is no problem.
func (v *surveyor) noteClones(ctx context.Context, s *store, rows []catalog.Entry, held listing) ([]catalog.Entry, error) {
	if s.images.Info().IndependentClones {
		return rows, nil
	}
	var differ []catalog.Observation
	for i := range rows {
		e := &rows[i]
		iv, there := held.read[e.ImageVolume]
		if there && held.lost[e.ImageVolume] == nil && e.State == catalog.Ready && iv.State == backends.Committed && iv.Clones != e.Clones {
			e.Clones = iv.Clones
			differ = append(differ, catalog.Observation{ID: e.ID, HeldBytes: e.HeldBytes, Clones: iv.Clones})
		}
	}
	if len(differ) == 0 {
		return rows, nil
	}
	return rows, v.catalog.Observe(ctx, differ)
}

// surveyRow compares one row with what the store holds.
func (v *surveyor) surveyRow(s *store, e catalog.Entry, held listing) *finding {
	if _, unread := held.unread[e.ImageVolume]; unread || e.State != catalog.Ready {
		return nil
	}
	iv, there := held.read[e.ImageVolume]
	problem := Problem{Backend: s.name, ID: string(e.ID)}
	switch {
	case !there || iv.State != backends.Committed:
		problem.Kind = "missing-image-volume"
		problem.Detail = fmt.Sprintf("entry %s names image-volume %s, which is not there", e.ID, e.ImageVolume)
		if lost := held.lost[e.ImageVolume]; lost != nil {
			problem.Detail = fmt.Sprintf("entry %s: %v", e.ID, lost)
		}
		problem.Remedy = "check --repair drops the entry; the next request caches the image anew"
		return &finding{Problem: problem, frees: true, noted: true, fix: func(ctx context.Context) error { return v.mender.dropMissing(ctx, s, e) }}
	case iv.HeldBytes != e.HeldBytes:
		problem.Kind = "held-bytes"
		problem.Detail = fmt.Sprintf("image-volume %s holds %d bytes, the catalog says %d", e.ImageVolume, iv.HeldBytes, e.HeldBytes)
		problem.Remedy = "check --repair corrects the figures"
		o := catalog.Observation{ID: e.ID, HeldBytes: iv.HeldBytes, Clones: iv.Clones}
		return &finding{Problem: problem, observed: &o, fix: func(ctx context.Context) error {
			return v.catalog.Observe(ctx, []catalog.Observation{o})
		}}
	}
	return nil
}

// unknown is an image-volume that no row names: of a fill that died, or of a catalog that was lost.
func (v *surveyor) unknown(s *store, iv backends.ImageVolume, claims *comparedClaims) finding {
	f := finding{Problem: Problem{Backend: s.name, ID: string(iv.ID), Kind: "unknown-image-volume"}}
	if iv.State != backends.Staged && iv.Description.Digest != "" {
		f.Detail = fmt.Sprintf("image-volume %s (%v) is in no entry", iv.ID, iv.Description.ImageIDs)
		f.Remedy = "check --repair takes it into the catalog again"
		f.adopts, f.detached, f.noted = iv.Description.EntryID, iv.State == backends.Detached, true
		f.fix = func(ctx context.Context) error { return v.mender.adopt(ctx, s, iv, claims.all) }
		return f
	}
	f.Kind = "unfinished-image-volume"
	f.Detail = fmt.Sprintf("image-volume %s is %s and in no entry", iv.ID, iv.State)
	f.Remedy = "check --repair removes it"
	f.frees, f.fix = true, func(ctx context.Context) error { return v.mender.retireUnnamed(ctx, s, iv) }
	return f
}
