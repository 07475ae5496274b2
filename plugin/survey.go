package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
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
	before, err := listStore(ctx, s)
	if err != nil {
		p.reached(s, err)
		return []finding{unavailable(s, err)}, nil
	}
	rows, err := p.catalog.List(ctx, catalog.Filter{Store: s.name})
	if err != nil {
		return nil, err
	}
	after, err := listStore(ctx, s)
	if err != nil {
		return []finding{unavailable(s, err)}, nil
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
		return &finding{Problem: problem, tells: true, fix: func(ctx context.Context) error { return p.forgetVanished(ctx, s, e) }}
	case iv.HeldBytes != e.HeldBytes || iv.Clones != e.Clones:
		problem.Kind = "held-bytes"
		problem.Detail = fmt.Sprintf("image-volume %s holds %d bytes and has %d clones, the catalog says %d and %d", e.ImageVolume, iv.HeldBytes, iv.Clones, e.HeldBytes, e.Clones)
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
	f.fix = func(ctx context.Context) error { return retireUnnamed(ctx, s, iv.ID) }
	return f
}

func retireUnnamed(ctx context.Context, s *store, id backends.ImageVolumeID) error {
	_, err := s.images.Retire(ctx, id)
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}

// adopt takes a committed image-volume into the catalog, from what it says of itself, and charges the
// quota for it. Where another entry has its content, or the quota does not allow it, it goes. What
// cannot go, since clones live, is adopted as detached, so that it is counted until the last of them is
// gone; where the quota does not allow that, its row has no claim until it does.
func (p *Plugin) adopt(ctx context.Context, s *store, iv backends.ImageVolume) error {
	if iv.State == backends.Detached {
		return p.adoptDetached(ctx, s, iv)
	}
	e := entryOf(s, iv)
	if s.charged() {
		claim, err := p.claimAnew(ctx, s, e)
		if errors.Is(err, internaltenant.ErrOverQuota) || errors.Is(err, errOwnerGone) {
			return p.retireOrDetach(ctx, s, iv)
		}
		if err != nil {
			return err
		}
		e.Claim = claim
	}
	revision := catalog.Key(iv.Description.RevisionKey)
	defer s.ready.begin()()
	err := p.catalog.Adopt(ctx, e, revision)
	if errors.Is(err, catalog.ErrLost) {
		return errors.Join(p.release1(ctx, e.Claim), p.retireOrDetach(ctx, s, iv))
	}
	if err != nil {
		return err
	}
	s.ready.add(e, revision)
	p.noteEntry(EventAdopted, e, catalog.Event{Bytes: e.HeldBytes})
	return nil
}

// retireOrDetach retires an image-volume that cannot be an entry, and adopts what is left of it.
func (p *Plugin) retireOrDetach(ctx context.Context, s *store, iv backends.ImageVolume) error {
	retired, err := s.images.Retire(ctx, iv.ID)
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if retired.Gone {
		p.noteEntry(EventMended, entryOf(s, iv), catalog.Event{Reason: "unknown-image-volume", Detail: fmt.Sprintf("image-volume %s, which cannot be an entry, was removed", iv.ID)})
		return nil
	}
	iv.State, iv.Clones = backends.Detached, retired.Clones
	return p.adoptDetached(ctx, s, iv)
}

func (p *Plugin) adoptDetached(ctx context.Context, s *store, iv backends.ImageVolume) error {
	e := entryOf(s, iv)
	e.State, e.EvictCause = catalog.Detached, catalog.CauseGone
	if s.charged() {
		claim, err := p.claimAnew(ctx, s, e)
		if err != nil && !errors.Is(err, internaltenant.ErrOverQuota) && !errors.Is(err, errOwnerGone) {
			return err
		}
		e.Claim = claim
	}
	if err := p.catalog.Adopt(ctx, e, ""); err != nil {
		return err
	}
	p.noteEntry(EventAdopted, e, catalog.Event{Bytes: e.HeldBytes, Detail: fmt.Sprintf("image-volume %s, detached: clones depend on it", e.ImageVolume)})
	return nil
}

// entryOf is the entry that an image-volume says it is.
func entryOf(s *store, iv backends.ImageVolume) catalog.Entry {
	d := iv.Description
	return catalog.Entry{
		ID: catalog.EntryID(d.EntryID), Store: s.name, Key: catalog.Key(d.ContentKey), Domain: d.Domain, Attempt: d.Attempt,
		ImageVolume: iv.ID, Form: d.Form, ImageIDs: d.ImageIDs, Digest: d.Digest, DiskFormat: d.DiskFormat, ContentSum: d.ContentSum,
		Claim: internaltenant.ClaimID(d.ClaimID), SourceBytes: d.SourceBytes, VirtualBytes: iv.VirtualBytes, HeldBytes: iv.HeldBytes, Clones: iv.Clones,
		InspectorVersion: d.InspectorVersion, CreatedAt: d.CreatedAt, FilledAt: d.CreatedAt, LastUsedAt: d.CreatedAt,
	}
}

// release1 releases a claim if there is one.
func (p *Plugin) release1(ctx context.Context, id internaltenant.ClaimID) error {
	if id == "" {
		return nil
	}
	return p.owner.Release(ctx, id)
}

// claimAnew charges the quota for an image-volume that exists. errOwnerGone.
func (p *Plugin) claimAnew(ctx context.Context, s *store, e catalog.Entry) (internaltenant.ClaimID, error) {
	var image string
	if len(e.ImageIDs) > 0 {
		image = e.ImageIDs[0]
	}
	return p.renewClaim(ctx, s, internaltenant.ClaimSpec{
		EntryID: string(e.ID), Attempt: e.Attempt, Backend: string(e.Store), ImageID: image, VirtualBytes: e.VirtualBytes,
	}, e.Claim)
}
