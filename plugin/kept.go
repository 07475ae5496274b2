package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/journal"
)

// A volume is kept where nobody may know of it and nothing proves that nobody does. It is left alone, shown
// to people, and stays so until somebody asks for it once more, deletes it, or says that it is wanted.

// keptDetails say in a sentence why a volume was kept.
var keptDetails = map[journal.Kept]string{
	journal.Unanswered: "the daemon ended before it answered who asked for it",
	journal.Unproved:   "it is not certain whether who asked for it was told: the host was restarted, the journal in state_dir is not whole, or another host was asked for it too",
	journal.InUse:      "who asked for it was told that there is none, and somebody has it open, has a snapshot of it, or has written to it, as far as its backend can tell",
}

// keptRemedy is what a person can do about a kept volume.
func keptRemedy(name backends.VolumeName) string {
	return fmt.Sprintf("if somebody uses it: `clonecache volume keep %s`; if nobody does: `clonecache volume delete %s`; the same request for it once more takes it too", name, name)
}

// keep leaves a whole volume alone from now on, and says so, once.
func (l *ladder) keep(i openIntent, why journal.Kept) {
	l.books.keep(i.Intent, why)
	l.noteKept(i, why)
	i.Kept, i.fate, i.found = why, mayStay, true
	l.unsettled.put(i)
}

// noteKept tells people of a volume that stays.
func (l *ladder) noteKept(i openIntent, why journal.Kept) {
	l.log.WithFields(logrus.Fields{"backend": i.Backend, "volume": i.Spec.Name, "reason": why}).
		Warn("a volume stays of which perhaps nobody knows; " + keptDetails[why])
	l.books.note(catalog.Event{
		Kind: EventKept, Backend: i.Backend, ImageID: i.Spec.Origin.ImageID, Entry: i.Spec.Origin.EntryID,
		Volume: i.Spec.Name, Reason: Reason(why), Detail: keptDetails[why] + "; " + keptRemedy(i.Spec.Name),
	})
}

// lookAtKept ends the intent of a kept volume that is no longer there.
func (l *ladder) lookAtKept(ctx context.Context, i openIntent) {
	log := l.log.WithFields(logrus.Fields{"backend": i.Backend, "volume": i.Spec.Name})
	s := l.storeOf(i.Intent)
	if s == nil {
		l.unsettled.put(i)
		return
	}
	v, err := s.backend.StatVolume(ctx, i.Spec.Name)
	gone := errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrNotOurs) || err == nil && v.Token != i.Spec.Token
	if !gone {
		l.unsettled.put(i)
		return
	}
	l.books.drop(i.Intent)
	log.Info("a volume that was kept is gone, or another's by now")
}

// KeepVolume says that a volume which was kept is wanted: it is an ordinary volume from now on. One that is
// ordinary already stays so. backends.ErrNotExist, backends.ErrNotOurs, ErrUnknownBackend.
func (p *Plugin) KeepVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName) error {
	s, err := p.stock.backendNamed(backend)
	if err != nil {
		return err
	}
	return p.ladder.wantKept(ctx, s, volume)
}

// wantKept ends what is open of a volume that somebody wants. backends.ErrNotExist, backends.ErrNotOurs.
func (l *ladder) wantKept(ctx context.Context, s *store, volume backends.VolumeName) error {
	unlock, err := l.names.lock(ctx, volumeKey{s.name, volume})
	if err != nil {
		return err
	}
	defer unlock()
	v, err := s.backend.StatVolume(ctx, volume)
	if errors.Is(err, backends.ErrExist) {
		err = severalOfName(s, volume, err)
	}
	if err != nil {
		return err
	}
	v.Name = volume
	if i, known := l.end(s, v); known {
		l.books.drop(i.Intent)
	}
	return nil
}

// forgetKept ends what is open of a volume that somebody has deleted.
func (l *ladder) forgetKept(s *store, volume backends.VolumeName) {
	for _, i := range l.unsettled.take(volume, l.on(s)) {
		if !i.found {
			l.unsettled.put(i) // half made, perhaps: it is settled
			continue
		}
		l.books.drop(i.Intent)
	}
}

// keptOn is why volumes of a store were kept.
func (l *ladder) keptOn(s *store) map[backends.VolumeName]journal.Kept {
	all := map[backends.VolumeName]journal.Kept{}
	for _, i := range l.unsettled.all() {
		if i.found && l.storeOf(i.Intent) == s {
			all[i.Spec.Name] = i.Kept
		}
	}
	return all
}

// kept is why volumes were kept, by their names.
func (l *ladder) kept() map[volumeKey]journal.Kept {
	all := map[volumeKey]journal.Kept{}
	for _, i := range l.unsettled.all() {
		if i.found {
			all[volumeKey{i.Backend, i.Spec.Name}] = i.Kept
		}
	}
	return all
}
