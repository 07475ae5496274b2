package rawfile

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// directAlign is what a write past the page cache is aligned to, in the file, in memory and in length:
	// 4 KiB suits every disk.
	directAlign = 4 << 10
	// aheadBytes is how far space is set aside before what is being written, and how far apart writes
	// may be that are taken for neighbours.
	aheadBytes = 8 << 20
	// maxSpareBytes bounds the space that is set aside and not written.
	maxSpareBytes = 32 << 20
)

// Content writes what a draft is to hold: large, once, more or less from the beginning to the end, by
// several goroutines at once. Where it can it writes past the page cache, since nobody reads an
// image-volume through its own file, and each byte is copied once less. Elsewhere it lets the disk begin
// early. Either way the sync that publishes the draft finds little left to do.
type Content struct {
	file   *os.File
	direct *os.File // the same file, past the page cache; nil: not to be had
	space  space
	behind Writeback
}

// Content begins the draft's content, size bytes long. It ends with the draft.
func (d *Draft) Content(size int64) (*Content, error) {
	if err := d.Truncate(size); err != nil {
		return nil, Explain(err)
	}
	if d.place.features.DirectWrites {
		d.direct = openDirect(d.File) // without it, through the page cache
	}
	return &Content{file: d.File, direct: d.direct, space: space{size: size}}, nil
}

// WriteAt implements io.WriterAt, for goroutines whose ranges do not overlap.
func (c *Content) WriteAt(p []byte, off int64) (int, error) {
	if c.direct != nil && aligned(p, off) && c.space.take(c.file, off, int64(len(p))) {
		n, err := c.direct.WriteAt(p, off)
		if err == nil || !unsupported(err) {
			return n, err
		}
		c.space.refuse() // a disk that wants another alignment
	}
	n, err := c.file.WriteAt(p, off)
	c.behind.Wrote(c.file, off+int64(n))
	return n, err
}

// Trim gives back the space that was set aside and not written, when all is. It is for the goroutine
// that publishes the draft.
func (c *Content) Trim() error {
	if !c.space.used() {
		return nil
	}
	for off := int64(0); off < c.space.size; {
		data, hole, err := segment(c.file, off, c.space.size)
		if err == nil && data > off {
			err = fallocate(c.file, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, data-off)
		}
		if err != nil {
			return fmt.Errorf("give back spare space: %w", Explain(err))
		}
		off = hole
	}
	return nil
}

// space is set aside in the order of the file, ahead of what is written: writes past the page cache find
// their own place on disk, and several at once would find it out of order. Each extent costs every clone.
type space struct {
	size int64 // of the file

	mu      sync.Mutex // orders the allocations, so it is held while one is made
	aside   int64      // up to there
	asked   int64      // bytes set aside
	written int64      // bytes for which take was called
	none    bool       // it was refused, or is of no use
}

// take sees to it that there is space for n bytes at off. It is false where none can be set aside.
func (s *space) take(f *os.File, off, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.next(off, n)
	if from < to && !s.none {
		s.none = fallocate(f, unix.FALLOC_FL_KEEP_SIZE, from, to-from) != nil // a full filesystem shows when it is written to
	}
	if s.none {
		return false
	}
	s.note(from, to, n)
	return true
}

// next is the range to be set aside for n bytes at off: with the gap before them and some more behind,
// as long as that is little beside what is written. It is empty where they lie before what was set aside
// last; there a write finds space of its own if there is none.
func (s *space) next(off, n int64) (from, to int64) {
	if off+n <= s.aside {
		return s.aside, s.aside
	}
	spare := max(0, min(maxSpareBytes, s.written+n)-max(0, s.asked-s.written))
	from = max(off, s.aside)
	if gap := off - s.aside; gap > 0 && gap <= min(aheadBytes, spare) {
		from = s.aside
		spare -= gap
	}
	return from, min(s.size, off+n+min(aheadBytes, spare))
}

func (s *space) note(from, to, n int64) {
	s.aside = to
	s.asked += to - from
	s.written += n
}

// refuse ends setting aside.
func (s *space) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.none = true
}

// used tells whether any space was set aside.
func (s *space) used() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked > 0
}

func fallocate(f *os.File, mode uint32, off, n int64) error {
	return retry(func() error { return unix.Fallocate(int(f.Fd()), mode, off, n) })
}

// openDirect opens f's file once more, for writing past the page cache; nil where that is not to be had.
func openDirect(f *os.File) *os.File {
	direct, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return direct
}

// aligned tells whether p may be written at off past the page cache.
func aligned(p []byte, off int64) bool {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	return len(p) > 0 && (at|uintptr(len(p))|uintptr(off))%directAlign == 0
}

// Close gives the draft's file back.
func (d *Draft) Close() error {
	err := d.File.Close()
	if d.direct != nil {
		err = errors.Join(err, d.direct.Close())
	}
	return err
}
