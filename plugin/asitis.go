package plugin

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/failpoint"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/words"
)

// An image may be kept in a file cache as it is, for those who want its bytes and no volume. Nothing in it is looked at:
// whoever reads it gets what the source would have given. Such an entry is found by keys of its own.

// form is what the fill makes of its image's bytes.
func (w *filling) form() backends.Form {
	if w.want.asItIs() {
		return backends.Source
	}
	return backends.Decoded
}

// contentKey is what equal content of the same form has in common.
func (w *filling) contentKey(digest imagesource.Digest, format string) catalog.Key {
	if w.want.asItIs() {
		return words.SourceContentKey(digest.String())
	}
	return words.ContentKey(digest.String(), format)
}

// keepAsItIs is steps for an image whose bytes are kept. Its size is known, so that one for which there can be no room is
// not read, and nobody goes for it. Others go only once the source has answered, and only as the bytes come: who breaks a
// download off has nobody evicted for what it has not read.
func (w *filling) keepAsItIs(ctx context.Context) (catalog.Entry, error) {
	size := w.want.image.SizeBytes
	if err := w.takeTurn(ctx); err != nil {
		return catalog.Entry{}, err
	}
	w.lap(&w.phases.Waiting)
	if err := w.berth.wouldFit(ctx, backends.RoundUp(size)); err != nil {
		return catalog.Entry{}, err
	}
	w.lap(&w.phases.Quota)
	stream, _, err := w.openSource(ctx)
	if err != nil {
		return catalog.Entry{}, err
	}
	defer stream.close()
	failpoint.Reached(failpoint.Source)
	w.lap(&w.phases.Source)
	if w.kept != nil {
		w.flight.tide.doubt()
	}
	image := &openImage{format: w.want.image.DiskFormat, diskBytes: size, virtualBytes: backends.RoundUp(size), sourceBytes: size, dataBytes: 0}
	if err := w.prepare(ctx, image); err != nil {
		return catalog.Entry{}, err
	}
	w.lap(&w.phases.Quota)
	if err := w.copyAsItIs(ctx, stream.hashed); err != nil {
		return catalog.Entry{}, err
	}
	failpoint.Reached(failpoint.Write)
	w.lap(&w.phases.Write)
	if err := w.verify(ctx, stream); err != nil {
		return catalog.Entry{}, err
	}
	w.flight.tide.trust()
	w.flight.tide.rise(w.stage, size)
	failpoint.Reached(failpoint.Verify)
	entry, err := w.publish(ctx, image, stream, diskimage.Stats{})
	w.lap(&w.phases.Commit)
	return entry, err
}

const (
	keepPiece = 1 << 20  // bytes that are read at once; a multiple of sumBlock
	holePiece = 64 << 10 // bytes that are not written where they are all zero
)

// copyAsItIs writes what is read, and tells readers how far it has come.
func (w *filling) copyAsItIs(ctx context.Context, from *imagesource.VerifyingReader) error {
	buffer := make([]byte, keepPiece)
	var at int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.Read(buffer) // whole blocks, but for the last one
		if err := w.writePieces(buffer[:n], at); err != nil {
			return err
		}
		at += int64(n)
		w.progress(at, at)
		w.flight.tide.rise(w.stage, w.givable(at))
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// givable is how much of what has come is given before it was verified. What a source gives is what its clients would get;
// of what was kept here the last byte waits, so that nobody has an image to its end that is none.
func (w *filling) givable(at int64) int64 {
	if w.kept == nil {
		return at
	}
	return min(at, w.want.image.SizeBytes-1)
}

// writePieces leaves out what is zero: the file is new.
func (w *filling) writePieces(b []byte, at int64) error {
	for len(b) > 0 {
		piece := b[:min(holePiece, len(b))]
		if !zeroes(piece) {
			if _, err := w.stage.WriteAt(piece, at); err != nil {
				return err
			}
		}
		b, at = b[len(piece):], at+int64(len(piece))
	}
	return nil
}

func zeroes(b []byte) bool {
	for len(b) > 0 {
		n := min(sumBlock, len(b))
		if string(b[:n]) != string(zeroBlock[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// tide is how much of an image's bytes can be read while its fill goes on. The zero value is of nothing. It may be used
// from several goroutines.
type tide struct {
	mu sync.Mutex // guards what follows
	level
	turned chan struct{} // closed at the next change; nil: nobody waits for that
}

// level is how far a tide has come.
type level struct {
	stage  io.ReaderAt // nil: nothing can be read
	bytes  int64
	course int // of an attempt, and its stage: another one's bytes may be others
	sound  int // the first course whose bytes are the source's own, or were verified
}

// rise lets the first bytes of a stage be read, as far as the stage can.
func (t *tide) rise(stage *meteredStage, bytes int64) {
	reader, readable := stage.ImageVolumeStage.(io.ReaderAt)
	if readable {
		t.turn(func(l *level) { l.stage, l.bytes = reader, bytes })
	}
}

// end takes what was there back; what comes next is another course.
func (t *tide) end() { t.turn(func(l *level) { l.stage, l.bytes, l.course = nil, 0, l.course+1 }) }

// doubt says that what comes now may be other bytes than the image's, until trust says that it is not.
func (t *tide) doubt() { t.turn(func(l *level) { l.sound = l.course + 1 }) }

// trust says that what has come was verified.
func (t *tide) trust() { t.turn(func(l *level) { l.sound = l.course }) }

func (t *tide) turn(change func(*level)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.level)
	if t.turned != nil {
		close(t.turned)
		t.turned = nil
	}
}

// now is what can be read, and a channel that is closed once that changes.
func (t *tide) now() (l level, turned <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turned == nil {
		t.turned = make(chan struct{})
	}
	return t.level, t.turned
}
