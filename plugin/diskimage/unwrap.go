package diskimage

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Bounds of what a compressed image may ask for. xz -9 and zstd --ultra -22 stay within the memory.
const (
	maxXZDictionary   = 64 << 20
	maxZstdWindowBits = 27
	freeUnpacked      = 1 << 30 // so much is unpacked whatever the ratio
	defaultRatio      = 1000
)

// errWindow: unpacking would need more memory than is allowed.
var errWindow = errors.New("window is too large")

// errTrailing: something follows the compressed data.
var errTrailing = errors.New("bytes behind the compressed data")

// unwrapper is the image inside a compressed stream. It has read the stream to its end when it has ended
// itself, so that a digest over the stream is complete. It is used by one goroutine at a time.
type unwrapper struct {
	kind     Compression
	source   *published
	unpacker io.ReadCloser
	ratio    int64 // most bytes out for each that came in; 0: any
	produced int64
	ended    error // what Read returns from now on
}

// unwrap begins to unpack what h has, which is compressed.
func unwrap(h *head, c Compression, opts Options) (*unwrapper, error) {
	read, lender := h.rest()
	if lender != nil {
		read = io.MultiReader(read, lender)
	}
	u := &unwrapper{kind: c, ratio: opts.ratio(), source: &published{in: read, announced: opts.SourceBytes}}
	var err error
	if u.unpacker, err = newUnpacker(c, u.source); err != nil {
		return nil, u.explain(err)
	}
	return u, nil
}

// Read implements io.Reader. It returns a Refusal for damage, and the source's own errors.
func (u *unwrapper) Read(p []byte) (int, error) {
	if u.ended != nil {
		return 0, u.ended
	}
	n, err := u.unpacker.Read(p)
	u.produced += int64(n)
	switch {
	case errors.Is(err, io.EOF):
		err = u.source.atEnd()
	case err == nil:
		err = u.checkRatio()
	}
	if err != nil {
		u.end(u.explain(err))
	}
	return n, u.ended
}

// end makes err what Read returns, and frees the memory.
func (u *unwrapper) end(err error) {
	if u.ended == nil {
		u.ended = err
		_ = u.unpacker.Close() // it only frees memory
	}
}

// checkRatio ends what grows beyond all measure. A disk that is mostly empty may.
func (u *unwrapper) checkRatio() error {
	if in := u.source.read.Load(); u.ratio > 0 && u.produced > freeUnpacked && u.produced/u.ratio > in {
		return refuse(RuleRatio, "unpacked size", fmt.Sprintf("over %d bytes from %d of %s", u.produced, in, u.kind))
	}
	return nil
}

// explain tells an error of the source from the image's own.
func (u *unwrapper) explain(err error) error {
	at := fmt.Sprintf("at byte %d: %v", u.source.read.Load(), err)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, ErrRefused), errors.Is(err, ErrSource):
		return err
	case u.source.failed != nil:
		return u.source.failed
	case errors.Is(err, errWindow):
		return refuse(RuleWindow, string(u.kind), at)
	case errors.Is(err, io.ErrUnexpectedEOF) && u.source.ended:
		return refuse(RuleTruncated, string(u.kind), at)
	}
	return refuse(RuleCompressedStream, string(u.kind), at)
}

// published is the stream as the source hands it out: it is as long as was announced.
type published struct {
	in        io.Reader
	announced int64 // -1 unknown
	read      atomic.Int64
	failed    error // the source's own error
	ended     bool
}

// Read implements io.Reader.
func (s *published) Read(p []byte) (int, error) {
	if s.failed != nil {
		return 0, s.failed
	}
	n, err := s.in.Read(p)
	total := s.read.Add(int64(n))
	switch {
	case s.announced >= 0 && total > s.announced:
		s.failed = sourceError(s.announced, ErrSourceLonger)
	case errors.Is(err, io.EOF) && total < s.announced:
		s.failed = sourceError(total, io.ErrUnexpectedEOF)
	case errors.Is(err, io.EOF):
		s.ended = true
		return n, io.EOF
	case err != nil:
		s.failed = sourceError(total, err)
	}
	return n, s.failed
}

// atEnd is io.EOF where nothing follows.
func (s *published) atEnd() error {
	var one [1]byte
	n, _, err := readFull(s, one[:])
	switch {
	case err != nil:
		return err
	case n > 0:
		return errTrailing
	}
	return io.EOF
}
