package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// imageStream is an image's bytes on their way in. Every byte is hashed as it is read, and the bytes
// that are hashed are the bytes that are decoded.
type imageStream struct {
	body   io.ReadCloser
	hashed *imagesource.VerifyingReader
	spool  diskimage.ScratchFile // of a raw image whose length the source does not tell
	reader *diskimage.Reader
}

// meteredBody adds up what is really read from a source: what is read ahead and then not wanted too.
type meteredBody struct {
	io.ReadCloser
	read *atomic.Int64
}

// Read implements io.Reader.
func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	return n, err
}

// openImage is an image whose headers have passed inspection.
type openImage struct {
	reader       *diskimage.Reader
	format       string // how its bytes become a disk: diskimage.Info.ContentFormat
	measured     bool   // it was decoded once already
	diskBytes    int64  // of the disk in it
	virtualBytes int64  // of the image-volume: these, rounded up
	sourceBytes  int64  // -1 unknown
	dataBytes    int64  // of these, that lie in no hole; -1 unknown
	progress     func(read, written int64)
}

// openStream opens the source's stream and inspects the image's headers.
func (w *filling) openStream(ctx context.Context) (*imageStream, *openImage, error) {
	s, data, err := w.openSource(ctx)
	if err != nil {
		return nil, nil, err
	}
	image, err := s.inspect(ctx, w)
	if err != nil {
		s.close()
		return nil, nil, w.tooSmall(fmt.Errorf("inspect %s: %w", w.want.image.Ref(), err))
	}
	if !image.measured {
		image.dataBytes = data
	}
	return s, image, nil
}

// openSource opens the source's stream, or that of the image's bytes where they are kept; data is how many of them lie in
// no hole, -1 unknown.
func (w *filling) openSource(ctx context.Context) (s *imageStream, data int64, err error) {
	w.flight.pace.note(w.fl.now(), 0)
	if kept := w.fl.keptOf(ctx, w); kept != nil {
		w.kept = kept
		return &imageStream{body: &meteredBody{kept, new(atomic.Int64)}, hashed: imagesource.Verify(kept, w.want.image.Digest)}, -1, nil
	}
	opened, err := w.want.source.Open(ctx, w.want.image)
	if err != nil {
		return nil, 0, err
	}
	if r, ok := opened.(imagesource.Revised); ok && r.Revision() != "" {
		image := w.want.image
		image.Revision = r.Revision()
		w.want = w.want.about(image)
	}
	data = -1
	if teller, ok := opened.(imagesource.DataTeller); ok {
		data = teller.DataBytes()
	}
	body := &meteredBody{ReadCloser: opened, read: &w.downloaded}
	if _, here := opened.(*spooledReader); here { // another fill has downloaded it
		body.read = new(atomic.Int64)
	} else {
		body.ReadCloser = w.fl.limits.of(w.want.image.Source).within(ctx, opened)
	}
	return &imageStream{body: body, hashed: imagesource.Verify(body, w.want.image.Digest)}, data, nil
}

func (s *imageStream) inspect(ctx context.Context, w *filling) (*openImage, error) {
	options := w.options()
	if options.SourceBytes < 0 { // where the size is known, refuseTooLarge says it as it does for hits
		options.MaxVirtualBytes = w.fl.flights.largestVolume(w.flight)
	}
	var err error
	if s.reader, err = diskimage.Open(ctx, s.hashed, options); err != nil {
		return nil, err
	}
	info := s.reader.Info()
	image := &openImage{format: info.ContentFormat(), sourceBytes: options.SourceBytes, progress: w.progress}
	if info.VirtualBytes < 0 {
		stats, err := s.measure(ctx, w, options)
		if err != nil {
			return nil, err
		}
		image.measured, image.dataBytes = true, stats.WrittenBytes
		read := s.length()
		image.progress = func(_, written int64) { w.progress(read, written) }
	}
	image.reader, image.diskBytes = s.reader, s.reader.Info().VirtualBytes
	image.virtualBytes = backends.RoundUp(image.diskBytes)
	return image, nil
}

// options are the bounds of the image.
func (w *filling) options() diskimage.Options {
	options := diskimage.Options{
		Declared: diskimage.Format(w.want.image.DiskFormat), SourceBytes: w.want.image.SizeBytes,
		Accept: w.fl.cfg.AcceptFormats, AcceptCompression: w.fl.cfg.AcceptCompression, MaxRatio: w.fl.cfg.MaxCompressionRatio,
		Scratch: w.fl.scratch,
	}
	if w.want.image.ClaimedBy == imagesource.ByService {
		options.DeclaredBy = diskimage.ByService
	}
	return options
}

// measure spools a raw image whose length nobody tells, or which is compressed, since an image-volume has a
// size from the start. The largest volume that waits bounds it.
func (s *imageStream) measure(ctx context.Context, w *filling, options diskimage.Options) (stats diskimage.Stats, err error) {
	if s.spool, err = w.fl.scratch.File(); err != nil {
		return stats, err
	}
	s.reader.Bound(w.fl.flights.largestVolume(w.flight))
	if stats, err = s.reader.Decode(ctx, s.spool, w.progress); err != nil {
		return stats, w.tooSmall(err)
	}
	if err := w.verify(ctx, s); err != nil {
		return stats, err
	}
	if err := s.reader.Close(); err != nil {
		return stats, err
	}
	options.SourceBytes, options.Declared, options.DeclaredBy = stats.VirtualBytes, diskimage.Raw, diskimage.ByService
	options.Accept = []diskimage.Format{diskimage.Raw} // what it is was judged
	s.reader, err = diskimage.Open(ctx, io.NewSectionReader(zeroTail{s.spool}, 0, stats.VirtualBytes), options)
	return stats, err
}

// tooSmall says of a disk that outgrows every volume which waits for it what is said where its size is known
// from the start.
func (w *filling) tooSmall(err error) error {
	var refusal *diskimage.Refusal
	if largest := w.fl.flights.largestVolume(w.flight); largest != 0 && errors.As(err, &refusal) && refusal.Rule == diskimage.RuleTooLarge {
		return fmt.Errorf("%w: %s needs %s; ask for a larger one", ErrTooSmall, w.want.image.Ref(), refusal.Value)
	}
	return err
}

// zeroTail reads as zeroes behind the end: decoding leaves out zeroes, those at an image's end too.
type zeroTail struct{ io.ReaderAt }

// ReadAt never meets an end.
func (z zeroTail) ReadAt(p []byte, off int64) (int, error) {
	n, err := z.ReaderAt.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	clear(p[n:])
	return len(p), nil
}

// verify compares the digest with what was promised. Where a list beside the image promised it, and it is
// not the digest of the bytes, the list and the image are asked for once more before anybody is blamed: one
// of the two may have been published just before the other. imagesource.ErrDigestMismatch, ErrChanged.
func (w *filling) verify(ctx context.Context, s *imageStream) error {
	image := w.want.image
	err, got := s.hashed.Check(), s.digest()
	if err == nil || !got.IsZero() && (image.Digest.IsZero() || got == image.Digest) { // it may have been learnt meanwhile
		return nil
	}
	if image.List == "" || !errors.Is(err, imagesource.ErrDigestMismatch) {
		return fmt.Errorf("%s: %w", image.Ref(), err)
	}
	now, again := w.want.source.Stat(imagesource.Anew(ctx), w.want.id)
	switch {
	case again != nil:
		return fmt.Errorf("%s: %w (%s beside it was not to be read again: %v)", image.Ref(), err, image.List, again)
	case !now.SameRevision(image), !now.Digest.IsZero() && now.Digest.Algorithm != image.Digest.Algorithm:
		return fmt.Errorf("%w: was %s with %s, is %s with %s", imagesource.ErrChanged, image.Revision, image.Digest, now.Revision, now.Digest)
	case now.Digest.IsZero() || now.Digest == got:
		now.DiskFormat, now.ClaimedBy = image.DiskFormat, image.ClaimedBy
		w.want = w.want.about(now)
		return nil
	}
	return fmt.Errorf("%s: %w: %s beside it says %s, its %d bytes have %s; publish the image and the list anew, or correct the one that is wrong",
		image.Ref(), imagesource.ErrDigestMismatch, now.List, now.Digest, s.length(), got)
}

// length is how many bytes the source has given.
func (s *imageStream) length() int64 { return s.hashed.Bytes() }

// digest is of the bytes that were read.
func (s *imageStream) digest() imagesource.Digest { return s.hashed.Sum() }

// close gives everything back. Nothing is lost by an error here.
func (s *imageStream) close() {
	if s.reader != nil {
		_ = s.reader.Close()
	}
	if s.spool != nil {
		_ = s.spool.Close()
	}
	_ = s.hashed.Close()
	_ = s.body.Close()
}
