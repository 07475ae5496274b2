package rawfile

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/allot"
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
	// littleBytes: less than that, far from the last, is no beginning of more.
	littleBytes = 64 << 10
	// extentBytes is what a filesystem notes of one extent, in blocks of a tree that may be half full.
	extentBytes = 64
	// maxBlockBytes is the largest block that is believed: over a network it may be the server's wish.
	maxBlockBytes = 128 << 10
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

// Content begins the draft's content, size bytes long. It ends with the draft. room is asked before it
// comes to occupy more; nil: there is room for all.
func (d *Draft) Content(size int64, room backends.Room) (*Content, error) {
	if err := d.Truncate(size); err != nil {
		return nil, Explain(err)
	}
	block, err := blockBytes(d.File)
	if err != nil {
		return nil, err
	}
	c := &Content{file: d.File, space: space{size: size, block: block, ahead: d.place.features.DirectWrites}}
	c.space.count = allot.New(allot.Config{
		UnitBytes: block, ExtentBytes: extentBytes, Room: room, GiveBack: func(all []allot.Range) { c.space.giveBack(d.File, all) },
	})
	if d.place.features.DirectWrites {
		d.direct = openDirect(d.File) // without it, through the page cache
		c.direct = d.direct
	}
	return c, nil
}

// Held is what the content occupies at most, in bytes: blocks that were written or set aside, and what the
// filesystem notes of where they are.
func (c *Content) Held() int64 { return c.space.count.Bytes() }

// WriteAt implements io.WriterAt, for goroutines whose ranges do not overlap. The blocks that it writes to
// are its own before it does: what a filesystem holds for blocks that it has promised and not placed yet
// can be several times their size where they are scattered.
func (c *Content) WriteAt(p []byte, off int64) (int, error) {
	aside, err := c.space.take(c.file, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	if aside && c.direct != nil && aligned(p, off) {
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
	size  int64 // of the file
	block int64 // of the filesystem
	count *allot.Count
	ahead bool // more than what is written is set aside

	mu      sync.Mutex // orders the allocations, so it is held while one is made
	aside   int64      // up to there
	asked   int64      // bytes set aside
	written int64      // bytes for which take was called
	none    bool       // it was refused, or is of no use
}

// take counts n bytes at off, and sees to it that there is space for them. It is false where none can be
// set aside: a write finds its own then. An error is the room's, or says that the filesystem is full.
func (s *space) take(f *os.File, off, n int64) (aside bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	need := allot.Range{From: off - off%s.block, To: min(s.size, off+n+(s.block-(off+n)%s.block)%s.block)}
	from, to := need.From, need.To
	if s.ahead {
		from, to = s.next(need.From, need.To-need.From)
	}
	ample := need
	if from < to {
		ample = allot.Range{From: min(need.From, from), To: max(need.To, to)}
	}
	before := s.count.Bytes()
	got, err := s.count.Take(need, ample)
	if err != nil || s.none {
		return false, err
	}
	switch {
	case s.count.Bytes() == before || !s.ahead && n >= littleBytes: // it has its space, or finds it
		from, to = need.To, need.To
	case from >= to: // in a gap that was left
		from, to = need.From, need.To
	case got != ample:
		from, to = max(need.From, min(from, need.To)), need.To
	}
	err = s.setAside(f, from, to)
	if errors.Is(err, unix.ENOSPC) && got != need {
		from, to = max(need.From, min(from, need.To)), need.To // it may be full but for this
		err = s.setAside(f, from, to)
	}
	if errors.Is(err, unix.ENOSPC) {
		return false, err
	}
	if s.none = err != nil; s.none {
		return false, nil
	}
	s.note(from, to, n)
	return true, nil
}

func (s *space) setAside(f *os.File, from, to int64) error {
	if from >= to {
		return nil
	}
	return fallocate(f, unix.FALLOC_FL_KEEP_SIZE, from, to-from)
}

// giveBack gives ranges back that were set aside and not written. It is called by take.
func (s *space) giveBack(f *os.File, all []allot.Range) {
	for _, r := range all {
		if fallocate(f, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.From, r.To-r.From) == nil {
			s.asked -= r.To - r.From
		}
	}
}

// next is the range to be set aside for n bytes at off: with the gap before them and some more behind,
// as long as that is little beside what is written; nothing more for a little far from what came before.
// It is empty where they lie before what was set aside last; there a write finds space of its own if there
// is none.
func (s *space) next(off, n int64) (from, to int64) {
	if off+n <= s.aside {
		return s.aside, s.aside
	}
	spare := max(0, min(maxSpareBytes, s.written+n)-max(0, s.asked-s.written))
	from = max(off, s.aside)
	gap := off - s.aside
	switch {
	case gap > 0 && gap <= min(aheadBytes, spare):
		from = s.aside
		spare -= gap
	case gap > 0 && n < littleBytes:
		spare = 0
	}
	return from, min(s.size, off+n+min(aheadBytes, spare))
}

func (s *space) note(from, to, n int64) {
	s.aside = max(s.aside, to)
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

// blockBytes is the filesystem's block.
func blockBytes(f *os.File) (int64, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(int(f.Fd()), &st) }); err != nil {
		return 0, Explain(onPath("statfs", f.Name(), err))
	}
	return min(max(st.Frsize, 512), maxBlockBytes), nil
}

func fallocate(f *os.File, mode uint32, off, n int64) error {
	return withDescriptor(f, func(fd int) error {
		return retry(func() error { return unix.Fallocate(fd, mode, off, n) })
	})
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
