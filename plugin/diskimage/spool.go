package diskimage

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// spoolPiece is what is left out of the scratch file where it is all zeroes.
const spoolPiece = 64 << 10

// errNoScratch: what the image needs cannot be had without a Scratch.
var errNoScratch = fmt.Errorf("no scratch space is configured: %w", ErrScratchFull)

// span is a range of the image file.
type span struct{ from, to int64 }

// spool keeps pieces of the stream for later, at their offsets. It is used by one goroutine.
type spool struct {
	scratch Scratch
	file    ScratchFile // nil until the first byte
	kept    []span      // ascending, merged
	bytes   int64
}

// keep stores p, which stands at off in the stream. Where p ends never goes back; what was kept before
// is left out.
func (s *spool) keep(p []byte, off int64) error {
	if n := len(s.kept); n > 0 && s.kept[n-1].to > off {
		drop := min(int64(len(p)), s.kept[n-1].to-off)
		p, off = p[drop:], off+drop
	}
	if len(p) == 0 {
		return nil
	}
	if n := len(s.kept); n > 0 && s.kept[n-1].to == off {
		s.kept[n-1].to += int64(len(p))
	} else {
		s.kept = append(s.kept, span{off, off + int64(len(p))})
	}
	for len(p) > 0 {
		n := min(len(p), spoolPiece)
		if !allZero(p[:n]) {
			if err := s.write(p[:n], off); err != nil {
				return err
			}
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (s *spool) write(p []byte, off int64) error {
	if s.file == nil {
		if s.scratch == nil {
			return errNoScratch
		}
		f, err := s.scratch.File()
		if err != nil {
			return err
		}
		s.file = f
	}
	if _, err := s.file.WriteAt(p, off); err != nil {
		return fmt.Errorf("write scratch at %d: %w", off, err)
	}
	s.bytes += int64(len(p))
	return nil
}

// available is how many of the n bytes at off were kept, without a gap from off on.
func (s *spool) available(off, n int64) int64 {
	i, found := slices.BinarySearchFunc(s.kept, off, func(k span, off int64) int {
		switch {
		case k.to <= off:
			return -1
		case k.from > off:
			return 1
		}
		return 0
	})
	if !found {
		return 0
	}
	return min(n, s.kept[i].to-off)
}

// read fills p with what was kept at off; all of it must have been.
func (s *spool) read(p []byte, off int64) error {
	if s.file == nil {
		clear(p)
		return nil
	}
	n, err := s.file.ReadAt(p, off)
	if n < len(p) && err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read scratch at %d: %w", off, err)
	}
	clear(p[n:])
	return nil
}

func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}
