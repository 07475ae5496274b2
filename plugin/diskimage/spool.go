package diskimage

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// spoolPiece is what is left out of the scratch file where it is all zeroes.
const spoolPiece = 64 << 10

// errNoScratch: what the image needs cannot be had without a Scratch.
var errNoScratch = fmt.Errorf("no scratch space is configured: %w", ErrScratchFull)

// span is a range of the image file.
type span struct{ from, to int64 }

// spool keeps pieces of the stream for later, at their offsets. Only keepSlack may be called by others
// than the one goroutine that uses it.
type spool struct {
	scratch Scratch
	kept    []span // ascending, merged

	mu    sync.Mutex
	file  ScratchFile // nil until the first byte
	bytes int64
	slack []span // in any order, not yet in kept
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
	file, err := s.open()
	if err != nil {
		return err
	}
	n, err := file.WriteAt(p, off)
	if err != nil {
		err = fmt.Errorf("write scratch at %d: %w", off, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += int64(n)
	return err
}

func (s *spool) open() (ScratchFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if s.scratch == nil {
			return nil, errNoScratch
		}
		f, err := s.scratch.File()
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	return s.file, nil
}

// keepSlack keeps what stands behind the end of a compressed cluster, at off, in its last sector: another
// one whose table has not come yet may begin there. No compressed stream begins with five zeroes.
func (s *spool) keepSlack(p []byte, off int64) error {
	zero := allZero(p)
	if zero && len(p) >= 5 {
		return nil
	}
	s.mu.Lock()
	s.slack = append(s.slack, span{off, off + int64(len(p))})
	count := len(s.slack)
	s.mu.Unlock()
	switch {
	case count > maxSpoolSpans:
		return refuse(RuleTooManyClusters, "compressed clusters", count)
	case zero:
		return nil
	}
	return s.write(p, off)
}

// settle makes the slack available. Nothing is kept afterwards.
func (s *spool) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Concat(s.kept, s.slack)
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	s.kept, s.slack = all[:0], nil // each is looked at before its place is taken
	for _, x := range all {
		if n := len(s.kept); n > 0 && x.from <= s.kept[n-1].to {
			s.kept[n-1].to = max(s.kept[n-1].to, x.to)
		} else {
			s.kept = append(s.kept, x)
		}
	}
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
