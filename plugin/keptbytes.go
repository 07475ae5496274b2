package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/words"
)

// A fill reads an image from a file cache that keeps it as it is, in place of the source. The source has described the
// image and let the requester have it, as for every fill; the bytes are hashed and inspected as the source's are.

// keptBytes are those of an image that a file cache keeps.
type keptBytes struct {
	io.Reader
	file  *os.File
	store *store
	entry catalog.Entry

	failed atomic.Bool // the disk, under what is kept
}

// Read implements io.Reader.
func (k *keptBytes) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
		k.failed.Store(true)
	}
	return n, err
}

// Close implements io.Closer.
func (k *keptBytes) Close() error { return k.file.Close() }

// errSpoilt: what a file cache keeps of an image is not what the image is, or cannot be read.
var errSpoilt = errors.New("the image's bytes in the file cache are damaged")

// keptOf are the bytes of the image that is to be filled, where a file cache has them; nil: none has.
func (fl *fills) keptOf(ctx context.Context, w *filling) *keptBytes {
	image := w.want.image
	if w.want.asItIs() || w.flight.unkept || image.Digest.IsZero() || image.List != "" || !w.want.expected.IsZero() {
		return nil
	}
	key := words.SourceKey(image.Ref(), image.Digest.String())
	for _, s := range fl.stock.orderedStores() {
		if s.cache == nil || !s.served() {
			continue
		}
		if e, ok := s.ready.find(key); ok {
			if f, _, err := s.cache.OpenImage(ctx, e.ImageVolume); err == nil {
				return &keptBytes{Reader: io.NewSectionReader(f, 0, e.SourceBytes), file: f, store: s, entry: e}
			}
		}
	}
	return nil
}

// spoilt tells whether a fill failed by bytes that were kept: then these go, and the image is read from its source. Where the disk
// failed they stay: it may come back.
func (w *filling) spoilt(ctx context.Context, err error) error {
	if w.kept != nil && w.kept.failed.Load() && ctx.Err() == nil {
		w.flight.unkept = true
		return fmt.Errorf("%w: %v", errSpoilt, err) // it is no fault of the source's
	}
	if w.kept == nil || !errors.Is(err, imagesource.ErrDigestMismatch) && !errors.Is(err, diskimage.ErrRefused) {
		return err
	}
	w.flight.unkept = true
	if gone := w.fl.stock.giveWay(ctx, w.kept.store, w.kept.entry); gone != nil {
		w.fl.log.WithFields(w.want.fields(w.kept.store)).WithError(gone).Warn("damaged bytes not removed from the file cache")
	}
	return fmt.Errorf("%w: %v", errSpoilt, err) // it is no fault of the image's
}
