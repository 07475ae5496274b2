package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// finding is a Problem and how to mend it; fix is nil where that is for a human to decide.
type finding struct {
	Problem
	fix func(context.Context) error
	// tells: mending it is an event of its own.
	tells bool
	// observed is all that fix would note, where it does nothing else: there may be many of these, and
	// they can be noted together.
	observed *catalog.Observation
}

// survey compares the catalog with every store and with the internal tenant's claims. A store that does
// not answer is a finding itself, and nothing is concluded about what it holds.
func (p *Plugin) survey(ctx context.Context) ([]finding, error) {
	var all []finding
	for _, s := range p.stores {
		found, err := p.surveyStore(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	claims, err := p.surveyClaims(ctx)
	return append(all, claims...), err
}

// surveyStore lists the store, then the rows, then the store again. Fills and evictions go on meanwhile:
// only what both listings show, and no row names, is unknown; and only a row that the second listing
// does not bear out is missing.
func (p *Plugin) surveyStore(ctx context.Context, s *store) ([]finding, error) {
	if err := p.ensure(ctx, s); err != nil {
		return []finding{unavailable(s, err)}, ctx.Err()
	}
	before, err := listStore(ctx, s)
	if err != nil {
		p.reached(s, err)
		return []finding{unavailable(s, err)}, nil
	}
	rows, err := p.catalog.List(ctx, catalog.Filter{Store: s.id()})
	if err != nil {
		return nil, err
	}
	after, err := listStore(ctx, s)
	if err != nil {
		return []finding{unavailable(s, err)}, nil
	}
	if rows, err = p.noteClones(ctx, s, rows, after); err != nil {
		return nil, err
	}
	findings := before.findings(s)
	named := make(map[backends.ImageVolumeID]bool, len(rows))
	for _, e := range rows {
		named[e.ImageVolume] = true
		if f := p.surveyRow(s, e, after); f != nil {
			findings = append(findings, *f)
		}
	}
	for id, iv := range after.read {
		if before.has(id) && !named[id] && after.damaged[id] == nil { // such a one may be anybody's
			findings = append(findings, p.unknown(s, iv))
		}
	}
	return findings, nil
}

// noteClones brings the live clones of rows up to date, before anything is compared: that some were deleted
// is no problem.
func (p *Plugin) noteClones(ctx context.Context, s *store, rows []catalog.Entry, held listing) ([]catalog.Entry, error) {
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
	return rows, p.catalog.Observe(ctx, differ)
}

// listing is what a store says of its image-volumes.
type listing struct {
	read map[backends.ImageVolumeID]backends.ImageVolume
	// lost are those of read whose content is not there any more, and why.
	lost map[backends.ImageVolumeID]error
	// damaged are those of read whose description is not one, and why.
	damaged map[backends.ImageVolumeID]error
	// unread are those that could not be read now, and why. They are there, and that is all that is known.
	unread map[backends.ImageVolumeID]error
}

// has tells whether there is an image-volume of that ID, whatever it is.
func (l listing) has(id backends.ImageVolumeID) bool {
	if _, ok := l.read[id]; ok {
		return true
	}
	_, ok := l.unread[id]
	return ok
}

// listStore reads every image-volume of a store.
func listStore(ctx context.Context, s *store) (listing, error) {
	all := listing{
		read:    make(map[backends.ImageVolumeID]backends.ImageVolume),
		lost:    make(map[backends.ImageVolumeID]error),
		damaged: make(map[backends.ImageVolumeID]error), unread: make(map[backends.ImageVolumeID]error),
	}
	for iv, err := range s.images.ListImageVolumes(ctx) {
		switch {
		case err == nil:
			all.read[iv.ID] = iv
		case iv.ID == "":
			return listing{}, err
		case errors.Is(err, backends.ErrNotExist): // its content is lost: it has no state, and may be removed
			all.read[iv.ID], all.lost[iv.ID] = iv, err
		case errors.Is(err, backends.ErrNotOurs):
			all.read[iv.ID], all.damaged[iv.ID] = iv, err
		default:
			all.unread[iv.ID] = err
		}
	}
	return all, ctx.Err()
}

// findings are the image-volumes that could not be read.
func (l listing) findings(s *store) []finding {
	var all []finding
	for kind, of := range map[string]map[backends.ImageVolumeID]error{"damaged-image-volume": l.damaged, unreadable: l.unread} {
		for id, err := range of {
			all = append(all, finding{Problem: Problem{
				Kind: kind, Backend: s.name, ID: string(id), Detail: err.Error(),
				Remedy: "look at it with the backend's own tools; if no entry has it and nobody needs it, remove it by hand; if an image-volume is lost, delete its entry",
			}})
		}
	}
	return all
}

// unreadable is the kind of problem that keeps an image-volume from being compared.
const unreadable = "unreadable-image-volume"

// backendDown is the kind of problem that keeps a store from being compared.
const backendDown = "backend-unavailable"

func unavailable(s *store, err error) finding {
	return finding{Problem: Problem{
		Kind: backendDown, Backend: s.name, ID: string(s.name), Detail: err.Error(),
		Remedy: "make the backend available and run the check again",
	}}
}

// surveyRow compares one row with what the store holds.
func (p *Plugin) surveyRow(s *store, e catalog.Entry, held listing) *finding {
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
		return &finding{Problem: problem, tells: true, fix: func(ctx context.Context) error { return p.dropMissing(ctx, s, e) }}
	case iv.HeldBytes != e.HeldBytes:
		problem.Kind = "held-bytes"
		problem.Detail = fmt.Sprintf("image-volume %s holds %d bytes, the catalog says %d", e.ImageVolume, iv.HeldBytes, e.HeldBytes)
		problem.Remedy = "check --repair corrects the figures"
		o := catalog.Observation{ID: e.ID, HeldBytes: iv.HeldBytes, Clones: iv.Clones}
		return &finding{Problem: problem, observed: &o, fix: func(ctx context.Context) error {
			return p.catalog.Observe(ctx, []catalog.Observation{o})
		}}
	}
	return nil
}

// unknown is an image-volume that no row names: of a fill that died, or of a catalog that was lost.
func (p *Plugin) unknown(s *store, iv backends.ImageVolume) finding {
	f := finding{Problem: Problem{Backend: s.name, ID: string(iv.ID), Kind: "unknown-image-volume"}}
	if iv.State != backends.Staged && iv.Description.Digest != "" {
		f.Detail = fmt.Sprintf("image-volume %s (%v) is in no entry", iv.ID, iv.Description.ImageIDs)
		f.Remedy = "check --repair takes it into the catalog again"
		f.tells, f.fix = true, func(ctx context.Context) error { return p.adopt(ctx, s, iv) }
		return f
	}
	f.Kind = "unfinished-image-volume"
	f.Detail = fmt.Sprintf("image-volume %s is %s and in no entry", iv.ID, iv.State)
	f.Remedy = "check --repair removes it"
	f.fix = func(ctx context.Context) error { return p.retireUnnamed(ctx, s, iv) }
	return f
}
