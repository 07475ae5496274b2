package plugin

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/journal"
)

// replay opens the journal, counts the answers that the catalog has not seen, and settles the intents
// that were never answered.
func (l *ladder) replay(ctx context.Context) error {
	recovered, err := l.books.open(ctx)
	if err != nil {
		return err
	}
	for _, i := range recovered.Recent {
		l.lookAgain(ctx, l.nowCalled(i))
	}
	for _, i := range recovered.Unfinished {
		l.resume(i)
	}
	l.settleOpen(ctx)
	return nil
}

// lookAgain looks at a volume that was answered in the minute before a reboot. It is its owner's, whatever it
// looks like.
func (l *ladder) lookAgain(ctx context.Context, i journal.Intent) {
	log := l.log.WithFields(map[string]any{"backend": i.Backend, "volume": i.Spec.Name})
	s := l.storeOf(i)
	if s == nil {
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
