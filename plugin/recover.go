package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/journal"
)

// recover settles what an earlier process left: answers not counted, volumes half made, fills and
// evictions in flight; then it reconciles catalog, backends and quota, and fills the view.
func (p *Plugin) recover(ctx context.Context) error {
	if err := p.identifyStores(ctx); err != nil {
		return err
	}
	if err := p.replay(ctx); err != nil {
		return err
	}
	if err := p.bindStores(ctx); err != nil {
		return err
	}
	p.books.note(catalog.Event{Kind: EventStarted, Detail: "host " + p.cfg.Host})
	abandoned, err := p.catalog.TakeOver(ctx, p.holder, p.cfg.LeaseFor)
	if err != nil {
		return err
	}
	for _, e := range abandoned {
		if err := p.endAbandoned(ctx, e); err != nil {
			p.log.WithField("entry", e.ID).WithError(err).Error("fill of an earlier process not ended; the next start tries again")
		}
	}
	for _, s := range p.stores {
		if _, err := p.reap(ctx, s); err != nil {
			p.log.WithField("backend", s.name).WithError(err).Error("evictions of an earlier process not ended; trying again in a minute")
		}
	}
	if err := p.reconcile(ctx); err != nil {
		return err
	}
	return p.loadView(ctx, slices.DeleteFunc(p.orderedStores(), func(s *store) bool { return !s.sure() })...)
}

// replay opens the journal, counts the answers that the catalog has not seen, and settles the intents
// that were never answered.
func (p *Plugin) replay(ctx context.Context) error {
	recovered, err := p.books.open(ctx)
	if err != nil {
		return err
	}
	for _, i := range recovered.Recent {
		i.Backend = p.nowCalled(i.Backend)
		p.lookAgain(ctx, i)
	}
	for _, i := range recovered.Unfinished {
		i.Backend = p.nowCalled(i.Backend)
		p.open.add(fateAfterCrash(i), i)
	}
	p.settleOpen(ctx)
	return nil
}

// lookAgain looks at a volume that was answered in the minute before a reboot. It is its owner's, whatever it
// looks like.
func (p *Plugin) lookAgain(ctx context.Context, i journal.Intent) {
	log := p.log.WithFields(map[string]any{"backend": i.Backend, "volume": i.Spec.Name})
	s, ok := p.stores[i.Backend]
	if !ok || s.backend == nil {
		return
	}
	v, err := s.backend.StatVolume(ctx, i.Spec.Name)
	switch {
	case errors.Is(err, backends.ErrNotExist), errors.Is(err, backends.ErrNotOurs):
		log.Info("a volume of the minute before the reboot is gone, or another's by now")
	case err != nil:
		log.WithError(err).Error("volume of the minute before the reboot not checked")
	case v.Token == i.Spec.Token && !v.Complete:
		log.Error("a volume of the minute before the reboot is not what it was made as; check --deep tells more")
	}
}

// endAbandoned ends a fill that an earlier process of this host had begun. An image-volume that was
// committed is published: its content was verified before. Anything less is removed.
func (p *Plugin) endAbandoned(ctx context.Context, e catalog.Entry) error {
	s := p.storeOf(e.Store)
	if s == nil {
		return fmt.Errorf("%w: %q is no longer configured", ErrUnknownBackend, p.label(e.Store))
	}
	if !s.sure() { // nothing is concluded from what it does not hold
		return fmt.Errorf("%w: %s has not said which store it is", backends.ErrUnavailable, s.name)
	}
	found, err := findImageVolume(ctx, s, e.ImageVolume)
	if err != nil {
		return err
	}
	if found.State == backends.Committed {
		published, err := p.publishAbandoned(ctx, s, e, found)
		if err != nil || published {
			return err
		}
	}
	if err := p.undoAttempt(ctx, s, e); err != nil {
		return err
	}
	if err := p.catalog.ForgetFill(ctx, e.ID, e.Attempt); err != nil {
		return err
	}
	p.books.noteEntry(EventFillFailed, e, catalog.Event{Reason: "interrupted", Detail: "the daemon ended while it filled; nothing is left of it"})
	return nil
}

// publishAbandoned makes the row ready; false where other content of that key won.
func (p *Plugin) publishAbandoned(ctx context.Context, s *store, e catalog.Entry, iv backends.ImageVolume) (bool, error) {
	d := iv.Description
	if d.EntryID != string(e.ID) || d.Attempt != e.Attempt || d.Digest == "" {
		return false, nil
	}
	_, duplicate, err := p.catalog.Publish(ctx, e.ID, e.Attempt, catalog.Published{
		Key: catalog.Key(d.ContentKey), Also: provenBy(d), Digest: d.Digest, DiskFormat: d.DiskFormat,
		SourceBytes: d.SourceBytes, VirtualBytes: iv.VirtualBytes, HeldBytes: iv.HeldBytes, InspectorVersion: d.InspectorVersion,
		ContentSum: d.ContentSum, Sharing: s.sharing(),
	})
	if err != nil || duplicate != nil {
		return false, err
	}
	p.books.noteEntry(EventFilled, e, catalog.Event{Bytes: iv.HeldBytes, Detail: "the daemon ended before it was named; it was whole"})
	return true, nil
}

// findImageVolume is the one of that ID, or the zero ImageVolume where there is none, or one whose
// description is damaged. One that cannot be read now is an error.
func findImageVolume(ctx context.Context, s *store, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	if id == "" {
		return backends.ImageVolume{}, nil
	}
	if looker, ok := backends.Capability[backends.ImageVolumeStater](s.images); ok {
		iv, err := looker.StatImageVolume(ctx, id)
		if errors.Is(err, backends.ErrNotOurs) || errors.Is(err, backends.ErrNotExist) {
			return backends.ImageVolume{}, nil
		}
		return iv, err
	}
	for iv, err := range s.images.ListImageVolumes(ctx) {
		switch {
		case err != nil && iv.ID == "":
			return backends.ImageVolume{}, err
		case iv.ID != id:
			continue
		case err != nil && !errors.Is(err, backends.ErrNotOurs) && !errors.Is(err, backends.ErrNotExist):
			return backends.ImageVolume{}, err
		}
		return iv, nil
	}
	return backends.ImageVolume{}, nil
}

// reconcile makes catalog, backends and quota agree, as far as that needs nobody's decision.
func (p *Plugin) reconcile(ctx context.Context) error {
	return p.alone(ctx, func() error { return p.reconcileAlone(ctx) })
}

// alone does what surveys and mends while nobody else of this process does: a finding is then not mended
// twice, nor one that another one's mending has made. What is served goes on.
func (p *Plugin) alone(ctx context.Context, do func() error) error {
	select {
	case p.mending <- struct{}{}:
		defer func() { <-p.mending }()
		return do()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Plugin) reconcileAlone(ctx context.Context) error {
	findings, err := p.survey(ctx)
	if err != nil {
		return err
	}
	p.owed.Store(slices.ContainsFunc(findings, func(f finding) bool { return f.Kind == quotaDown || f.Kind == backendDown || f.Kind == unreadable }))
	if findings, err = p.noteObserved(ctx, findings); err != nil {
		return err
	}
	for _, f := range findings {
		log := p.log.WithFields(map[string]any{"backend": f.Backend, "id": f.ID, "kind": f.Kind})
		if f.fix == nil {
			log.Warn(f.Detail)
			continue
		}
		if err := p.mend(ctx, f); err != nil {
			log.WithError(err).Error("not mended: " + f.Detail)
			continue
		}
		log.Info("mended: " + f.Detail)
	}
	return nil
}

// noteObserved notes together what was observed of entries, and returns the other findings: clones come
// and go while nobody looks, so that there may be one for each entry.
func (p *Plugin) noteObserved(ctx context.Context, findings []finding) (others []finding, err error) {
	var observed []catalog.Observation
	for _, f := range findings {
		if f.observed != nil {
			observed = append(observed, *f.observed)
		} else {
			others = append(others, f)
		}
	}
	if len(observed) == 0 {
		return others, nil
	}
	p.log.WithField("entries", len(observed)).Info("held bytes brought up to date")
	p.books.note(catalog.Event{Kind: EventMended, Reason: "held-bytes", Detail: fmt.Sprintf("held bytes of %d entries brought up to date", len(observed))})
	return others, p.catalog.Observe(ctx, observed)
}

// mend mends a finding, and notes that.
func (p *Plugin) mend(ctx context.Context, f finding) error {
	if err := f.fix(ctx); err != nil {
		return err
	}
	if !f.tells {
		p.books.note(catalog.Event{Kind: EventMended, Backend: f.Backend, Reason: Reason(f.Kind), Detail: f.Detail})
	}
	return nil
}

// loadView reads the ready entries of stores that are bound, and their aliases.
func (p *Plugin) loadView(ctx context.Context, stores ...*store) error {
	for _, s := range stores {
		defer s.ready.begin()()
	}
	entries, err := p.catalog.List(ctx, catalog.Filter{States: []catalog.State{catalog.Ready}})
	if err != nil {
		return err
	}
	aliases, err := p.catalog.Aliases(ctx)
	if err != nil {
		return err
	}
	keys := make(map[catalog.EntryID][]catalog.Key)
	for key, ids := range aliases {
		for _, id := range ids {
			keys[id] = append(keys[id], key)
		}
	}
	for _, e := range entries {
		if s := p.storeOf(e.Store); s != nil && slices.Contains(stores, s) {
			s.ready.add(e, keys[e.ID]...)
		}
	}
	return nil
}

// isGone tells that somebody else has already removed what was to be removed.
func isGone(err error) bool {
	return errors.Is(err, catalog.ErrLost) || errors.Is(err, catalog.ErrNotFound)
}
