package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// An image-volume whose content is not what was written is in quarantine: its entry is found by nobody, and stays, so that a
// person can look at it. It counts against the bounds, goes as any other entry does, and is released once it was read
// again and is right. The catalog knows of it, and each daemon's view, which all ways to a clone go through, of those on
// its stores; other daemons hear of it within pausedEvery.

// quarantine keeps a ready entry from being used, for all daemons on the catalog, and says so. ErrLost of the catalog: it has gone
// meanwhile.
func (k *stock) quarantine(ctx context.Context, s *store, e catalog.Entry, why string) (catalog.Entry, error) {
	end := s.changing()
	s.ready.ban(e.ID)
	s.ready.remove(e.ID)
	e, err := k.catalog.Quarantine(ctx, e.ID, e.ImageVolume, why)
	end()
	if err != nil {
		return e, errors.Join(err, k.readQuarantined(ctx))
	}
	k.banWhereItIsNow(s, e)
	k.rememberDamaged(e)
	k.tellQuarantined(ctx, s, e)
	return e, nil
}

// banWhereItIsNow keeps an entry in quarantine from being used where its store has left the configuration and come back while the
// image-volume was read: it has another view then.
func (k *stock) banWhereItIsNow(was *store, e catalog.Entry) {
	s := k.storeOf(e.Store)
	if s == nil || s == was {
		return
	}
	defer s.changing()()
	s.ready.ban(e.ID)
	s.ready.remove(e.ID)
}

// tellQuarantined says of an entry in quarantine why it is there, and what was made from it.
func (k *stock) tellQuarantined(ctx context.Context, s *store, e catalog.Entry) {
	made, err := k.madeFrom(ctx, e)
	detail := e.Quarantine + madeDetail(made, err)
	k.books.noteEntry(EventQuarantined, e, catalog.Event{Reason: "content", Bytes: e.HeldBytes, Detail: detail})
	k.log.WithFields(map[string]any{"backend": s.name, "image_volume": e.ImageVolume, "entry": e.ID, "volumes": len(made)}).
		Error("image-volume is damaged and in quarantine; nothing is made from it any more: " + e.Quarantine)
}

// release lets an entry that was read back and is right be used again. Where another one has its content by now, it is
// dropped instead: released is false.
func (k *stock) release(ctx context.Context, s *store, e catalog.Entry) (released bool, err error) {
	if _, err = k.catalog.Release(ctx, e.ID); errors.Is(err, catalog.ErrLost) {
		if now, err := k.catalog.Get(ctx, e.ID); err != nil || now.Serves() { // somebody else was faster
			return err == nil, err
		}
		return false, k.giveWay(ctx, s, e)
	}
	if err != nil {
		return false, err
	}
	if err := k.damaged.forget(e.ImageVolume); err != nil {
		k.log.WithError(err).Warn("state_dir still tells that a released image-volume is damaged")
	}
	k.books.noteEntry(EventReleased, e, catalog.Event{})
	return true, errors.Join(k.readQuarantined(ctx), k.loadView(ctx, s))
}

// madeFrom are the volumes, on any backend that is configured here, that were made from an entry's image-volume.
func (k *stock) madeFrom(ctx context.Context, e catalog.Entry) ([]backends.VolumeName, error) {
	made := []backends.VolumeName{}
	var problems []error
	for _, s := range k.orderedStores() {
		if s.backend == nil || s.down() != nil {
			continue
		}
		for v, err := range s.backend.ListVolumes(ctx) {
			if err != nil {
				problems = append(problems, fmt.Errorf("list the volumes of %s: %w", s.name, err))
				break
			}
			if v.Origin.EntryID == e.ID {
				made = append(made, v.Name)
			}
		}
	}
	return made, errors.Join(problems...)
}

// madeDetail says which volumes were made from what is damaged.
func madeDetail(made []backends.VolumeName, err error) string {
	const most = 5
	names := make([]string, 0, most)
	for _, name := range made[:min(len(made), most)] {
		names = append(names, string(name))
	}
	said := "; no volume was made from it"
	switch {
	case len(made) > most:
		said = fmt.Sprintf("; %d volumes were made from it: %s and %d more", len(made), strings.Join(names, ", "), len(made)-most)
	case len(made) > 0:
		said = "; made from it: " + strings.Join(names, ", ")
	}
	if err != nil {
		said += "; some backends did not say what was: " + err.Error()
	}
	return said
}

// readQuarantined brings what this daemon knows of entries in quarantine up to date.
func (k *stock) readQuarantined(ctx context.Context) error {
	every := k.everyStore()
	for _, s := range every {
		defer s.changing()()
	}
	all, err := k.catalog.Quarantined(ctx)
	if err != nil {
		return err
	}
	k.rememberDamaged(all...)
	of := make(map[*store][]catalog.EntryID)
	for _, e := range all {
		if s := k.storeOf(e.Store); s != nil {
			of[s] = append(of[s], e.ID)
		}
	}
	for _, s := range every {
		s.ready.banOnly(of[s])
	}
	return nil
}

// lookForQuarantined is readQuarantined, again and again, for what other daemons have found.
func (k *stock) lookForQuarantined(ctx context.Context) {
	if k.sole {
		return
	}
	if err := k.readQuarantined(ctx); err != nil && ctx.Err() == nil && k.catalogAway() == nil {
		k.log.WithError(err).Warn("not known which image-volumes are in quarantine; trying again")
	}
}

// surveyQuarantined tells of entries in quarantine, which are for a person to look at.
func (v *surveyor) surveyQuarantined(ctx context.Context) ([]finding, error) {
	all, err := v.catalog.Quarantined(ctx)
	if errors.Is(err, catalog.ErrDamaged) {
		return nil, nil // which is a finding of its own
	}
	var findings []finding
	for _, e := range all {
		made, unlisted := v.stock.madeFrom(ctx, e)
		findings = append(findings, finding{Problem: Problem{
			Kind: "quarantined", Backend: v.stock.label(e.Store), ID: string(e.ID),
			Detail: e.Quarantine + madeDetail(made, unlisted),
			Remedy: "look at the disks below, and at what those volumes hold; then `clonecache entry revalidate " + string(e.ID) + "` reads it again and releases it if it is right, `clonecache entry delete --force " + string(e.ID) + "` removes it",
		}})
	}
	return findings, err
}
