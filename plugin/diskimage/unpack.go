package diskimage

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// readAhead is how much of a compressed stream is asked for at once.
const readAhead = 256 << 10

// newUnpacker makes what unpacks a whole stream, several members behind each other too. At its end it has
// read in to its end, or returns an error. io.ErrUnexpectedEOF: in ended too early. errWindow.
func newUnpacker(c Compression, in io.Reader) (io.ReadCloser, error) {
	switch c {
	case Gzip:
		return &gunzip{in: bufio.NewReaderSize(in, readAhead)}, nil
	case XZ:
		return newUnxz(in)
	case Zstd:
		return newUnzstd(in)
	case Bzip2:
		return newBunzip(in)
	default:
		return nil, fmt.Errorf("no unpacker for %s", c)
	}
}

// gunzip unpacks gzip (RFC 1952). Zeroes may follow the last member, as they do on tapes.
type gunzip struct {
	in      *bufio.Reader
	member  *gzip.Reader
	between bool // the last member has ended
}

// Read implements io.Reader.
func (g *gunzip) Read(p []byte) (int, error) {
	for {
		if g.member == nil || g.between {
			if err := g.next(); err != nil {
				return 0, err
			}
		}
		n, err := g.member.Read(p)
		if errors.Is(err, io.EOF) {
			g.between, err = true, nil
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// next goes on with the next member. io.EOF: there is none.
func (g *gunzip) next() error {
	var err error
	if g.member == nil {
		g.member, err = gzip.NewReader(g.in)
	} else if err = g.skipPadding(); err == nil {
		err = g.member.Reset(g.in)
	}
	if err != nil {
		return err
	}
	g.member.Multistream(false)
	g.between = false
	return nil
}

// skipPadding skips zeroes up to the end, io.EOF then. Where none come, the next member does.
func (g *gunzip) skipPadding() error {
	b, err := g.in.Peek(2)
	switch {
	case string(b) == "\x1f\x8b":
		return nil
	case len(b) > 0 && b[0] != 0:
		return errTrailing
	}
	for next := byte(0); err == nil && next == 0; {
		next, err = g.in.ReadByte()
	}
	if err == nil {
		return errTrailing
	}
	return err
}

// Close implements io.Closer.
func (g *gunzip) Close() error { return nil }
