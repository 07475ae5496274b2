package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/words"
)

// A fill reads an image from where it is kept already, in place of the source: a disk from a file cache that keeps the image
// as it is, an image's bytes from an image-volume that was made of them. The source has described the image and let the
// requester have it, as for every fill; the bytes are hashed and inspected as the source's are.

// keptBytes are those of an image that an entry has. While they are open nobody takes them away: what is evicted meanwhile goes
// once they are closed.
type keptBytes struct {
	io.Reader
	from  io.Closer
	store *store
	entry catalog.Entry
	disk  bool // the entry is the image's disk, and so its bytes

	failed atomic.Bool // the disk, under what is kept
	closed atomic.Bool
}

// Read implements io.Reader.
func (k *keptBytes) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !k.closed.Load() {
		k.failed.Store(true)
	}
	return n, err
}

// Close implements io.Closer. It may be repeated.
func (k *keptBytes) Close() error {
	if k.closed.Swap(true) {
		return nil
	}
	return k.from.Close()
}

// errSpoilt: what is kept of an image is not what the image is, or cannot be read.
var errSpoilt = errors.New("what is kept of the image is damaged")

// keptOf are the bytes of the image that is to be filled, where an entry has them; nil: none has.
func (fl *fills) keptOf(ctx context.Context, w *filling) *keptBytes {
	image := w.want.image
	if w.flight.unkept || image.Digest.IsZero() || image.List != "" || !w.want.expected.IsZero() {
		return nil
	}
	if w.want.asItIs() {
		return fl.diskOf(ctx, &w.want)
	}
	key := words.SourceKey(image.Ref(), image.Digest.String())
	for _, s := range fl.stock.orderedStores() {
		if s.cache == nil || !s.served() {
			continue
		}
		if e, ok := s.ready.find(key); ok {
			if f, _, err := s.cache.OpenImage(ctx, e.ImageVolume); err == nil {
				return &keptBytes{Reader: io.NewSectionReader(f, 0, e.SourceBytes), from: f, store: s, entry: e}
			}
		}
	}
	return nil
}

// spoilt tells whether a fill failed by bytes that were kept: then the image is read from its source, and those that are not the
// image's go. Where the disk failed they stay: it may come back.
func (w *filling) spoilt(ctx context.Context, err error) error {
	if w.kept == nil {
		return err
	}
	unread := w.kept.failed.Load() && ctx.Err() == nil
	if !unread && !errors.Is(err, imagesource.ErrDigestMismatch) && !errors.Is(err, diskimage.ErrRefused) {
		return err
	}
	w.flight.unkept = true
	switch {
	case unread:
	case w.kept.disk:
		w.fl.lookAtSpoilt(w.kept.store, w.kept.entry)
	default:
		if gone := w.fl.stock.giveWay(ctx, w.kept.store, w.kept.entry); gone != nil {
			w.fl.log.WithFields(w.want.fields(w.kept.store)).WithError(gone).Warn("damaged bytes not removed from the file cache")
		}
	}
	return fmt.Errorf("%w: on %s: %v", errSpoilt, w.kept.store.name, err) // it is no fault of the image's, nor of its source's
}
