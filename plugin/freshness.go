package plugin

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/words"
)

// sweepEvery is how often it is looked for entries that nobody has used for so long that their images may have changed.
const sweepEvery = 10 * time.Minute

// sweeper asks the sources about images that nobody has asked for since FreshFor: a request asks each time, so it is only
// what is not used that may be stale unseen. Entries that are not what their image is any more are superseded, and go
// first at eviction. It removes nothing; a crash leaves nothing.
type sweeper struct {
	*house
	stock   *stock
	fills   *fills
	sources *sources
}

// sweeper is one that knows what the queue knows.
func (q *queue) sweeper() *sweeper {
	return &sweeper{house: q.house, stock: q.stock, fills: q.fills, sources: q.sources}
}

// sweep looks at each source's images that are due.
func (w *sweeper) sweep(ctx context.Context) {
	for source, fresh := range w.sources.freshFor() {
		if fresh <= 0 {
			continue
		}
		if err := w.sweepSource(ctx, source, w.now().Add(-fresh)); err != nil && ctx.Err() == nil {
			w.log.WithField("source", source).WithError(err).Warn("cached images not compared with their source; trying again")
		}
	}
}

// sweepSource looks at a source's images until it does not answer.
func (w *sweeper) sweepSource(ctx context.Context, source string, since time.Time) error {
	due, err := w.catalog.Unseen(ctx, source, since)
	if err != nil || len(due) == 0 {
		return err
	}
	if !w.sole { // what others have filled is in the view only once somebody has asked here for it
		if err := w.stock.loadView(ctx, slices.DeleteFunc(w.stock.orderedStores(), func(s *store) bool { return !s.sure() })...); err != nil {
			return err
		}
	}
	for _, r := range due {
		if err := w.look(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// look asks the source about one image. Who may not be told of it, or cannot tell it from another, changes nothing.
func (w *sweeper) look(ctx context.Context, r catalog.Reading) error {
	s := w.stock.storeOf(r.Store)
	if s == nil {
		return nil
	}
	var want wanted
	if err := want.resolve(ctx, w.sources, r.Image); err != nil {
		return nil //nolint:nilerr // its source is not configured any more, or the reference is not allowed
	}
	err := w.fills.authorise(imagesource.Anew(ctx), &want) // which notes what is gone
	switch {
	case errors.Is(err, imagesource.ErrUnavailable), ctx.Err() != nil:
		return err
	case errors.Is(err, imagesource.ErrNotActive):
		return w.catalog.ImageGone(ctx, r.Image)
	case err != nil, !want.image.Stable() && want.promised.IsZero(), !want.image.StaleSince.IsZero():
		return nil //nolint:nilerr // it is asked again at the next sweep
	case s.isStill(&want, r.Entry):
		return w.catalog.Seen(ctx, r)
	}
	w.log.WithFields(want.fields(s)).WithField("entry", r.Entry).Info("image has other content by now; its entry is superseded")
	return w.catalog.ImageGone(ctx, r.Image)
}

// isStill tells whether an entry is what the image is, whatever format those who asked for it declared.
func (s *store) isStill(w *wanted, id catalog.EntryID) bool {
	state := w.image.Revision
	if !w.promised.IsZero() && !w.listed() {
		state = w.promised.String()
	}
	if w.listed() {
		state = w.image.Revision + " " + w.promised.String()
	}
	if e, ok := s.ready.find(words.SourceKey(w.image.Ref(), state)); ok && e.ID == id {
		return true
	}
	for _, format := range []string{w.format(), unknownFormat, rawByName, string(diskimage.Raw), string(diskimage.QCOW2), string(diskimage.ISO)} {
		if e, ok := s.ready.find(words.RevisionKey(w.image.Ref(), state, format)); ok && e.ID == id {
			return true
		}
	}
	return false
}
