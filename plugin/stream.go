package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

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
	virtualBytes int64
	sourceBytes  int64 // -1 unknown
	dataBytes    int64 // of these, that lie in no hole; -1 unknown
}

// open opens the source's stream and inspects the image's headers.
func (w *filling) open(ctx context.Context) (*imageStream, *openImage, error) {
	opened, err := w.q.source.Open(ctx, w.q.image)
	if err != nil {
		return nil, nil, err
	}
	data := int64(-1)
	if teller, ok := opened.(imagesource.DataTeller); ok {
		data = teller.DataBytes()
	}
	body := &meteredBody{ReadCloser: opened, read: &w.downloaded}
	s := &imageStream{body: body, hashed: imagesource.Verify(body, w.q.image.Digest)}
	image, err := s.inspect(ctx, w)
	if err != nil {
		s.close()
		return nil, nil, fmt.Errorf("inspect %s: %w", w.q.image.Ref(), err)
	}
	image.dataBytes = data
	return s, image, nil
}

func (s *imageStream) inspect(ctx context.Context, w *filling) (*openImage, error) {
	options := diskimage.Options{
		Declared: diskimage.Format(w.q.image.DiskFormat), SourceBytes: w.q.image.SizeBytes,
		Scratch: w.p.scratch,
	}
	if options.SourceBytes < 0 { // where the size is known, refuseTooLarge says it as it does for hits
		options.MaxVirtualBytes = w.p.flights.largestVolume(w.flight)
	}
	var err error
	if s.reader, err = diskimage.Open(ctx, s.hashed, options); err != nil {
		return nil, err
	}
	if s.reader.Info().VirtualBytes < 0 {
		if err := s.measure(ctx, w, options); err != nil {
			return nil, err
		}
	}
	return &openImage{reader: s.reader, virtualBytes: s.reader.Info().VirtualBytes, sourceBytes: options.SourceBytes}, nil
}

// measure spools a raw image whose length nobody tells, since an image-volume has a size from the start.
func (s *imageStream) measure(ctx context.Context, w *filling, options diskimage.Options) error {
	var err error
	if s.spool, err = w.p.scratch.File(); err != nil {
		return err
	}
	stats, err := s.reader.Decode(ctx, s.spool, w.progress)
	if err != nil {
		return err
	}
	if err := s.reader.Close(); err != nil {
		return err
	}
	options.SourceBytes = stats.SourceBytes
	options.Declared = s.reader.Info().Format
	s.reader, err = diskimage.Open(ctx, io.NewSectionReader(zeroTail{s.spool}, 0, stats.SourceBytes), options)
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

// verify compares length and digest with what the source promised.
func (s *imageStream) verify(image imagesource.Image) error {
	if err := s.hashed.Check(); err != nil {
		return fmt.Errorf("%s: %w", image.Ref(), err)
	}
	return nil
}

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
