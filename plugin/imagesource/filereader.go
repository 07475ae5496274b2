package imagesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

// revisionOf is what changes when a file's bytes do. The time of the last status change is in it since
// nothing but the kernel sets it, whereas a tool that copies may set the time of the last write.
func revisionOf(info fs.FileInfo) string {
	revision := fmt.Sprintf("size=%d mtime_ns=%d", info.Size(), info.ModTime().UnixNano())
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		revision += fmt.Sprintf(" ctime_ns=%d inode=%d", s.Ctim.Nano(), s.Ino)
	}
	return revision
}

// fileReader reads a file whose bytes must not change meanwhile. That it is renamed, unlinked, linked or
// given other rights is no matter: only its status changes then, neither size nor time of the last write. A
// tool that writes may put that time back, so where the status changed, the bytes are read a second time and
// compared by a hash. What lies in its holes is not read.
type fileReader struct {
	ctx    context.Context // covers the reading, as Source.Open says
	file   *os.File
	before fs.FileInfo
	size   int64
	offset int64
	next   segment      // of data, that ends behind offset
	sum    *xxh3.Hasher // of what was read; it is to find accidents
}

// segment is a range of data, in bytes; what lies before it is a hole.
type segment struct{ from, to int64 }

// mostSegments is how many segments DataBytes looks at.
const mostSegments = 10_000

// DataBytes implements DataTeller. Of a file in very many pieces it looks at the first ones.
func (r *fileReader) DataBytes() int64 {
	var data, off int64
	for range mostSegments {
		s := r.segment(off)
		data, off = data+s.to-s.from, s.to
		if off >= r.size {
			return data
		}
	}
	return int64(float64(data) * float64(r.size) / float64(off))
}

// segment is the first one of data that ends behind off, as the filesystem says; at the end an empty one. All
// is data where it does not say. Close may be called meanwhile: the file's own calls know of it, whereas a
// descriptor that is taken out of it may soon be another file's.
func (r *fileReader) segment(off int64) segment {
	from, err := r.file.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return segment{r.size, r.size}
	}
	if err != nil {
		return segment{off, r.size}
	}
	to, err := r.file.Seek(from, unix.SEEK_HOLE)
	if err != nil || to <= from {
		to = r.size
	}
	return segment{min(from, r.size), min(to, r.size)}
}

func newFileReader(ctx context.Context, file *os.File, info fs.FileInfo) *fileReader {
	readAhead(file)
	return &fileReader{ctx: ctx, file: file, before: info, size: info.Size(), sum: xxh3.New()}
}

// readAhead is only a hint: without it the kernel reads less ahead.
func readAhead(file *os.File) {
	if conn, err := file.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), 0, 0, unix.FADV_SEQUENTIAL) })
	}
}

// Read implements io.Reader: ErrChanged at the end where the bytes are not what they were, ErrTruncated
// where they end early.
func (r *fileReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	rest := r.size - r.offset
	if rest == 0 {
		if err := r.unchanged(); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	n, err := r.read(p[:min(int64(len(p)), rest)])
	switch {
	case err == nil || n > 0:
		return n, nil
	case errors.Is(err, io.EOF):
		if err := r.unchanged(); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("%w: at byte %d of %d", ErrTruncated, r.offset, r.size)
	default:
		return 0, fmt.Errorf("%w: at byte %d of %d: %w", ErrUnavailable, r.offset, r.size, err)
	}
}

// read reads what stands at offset, and goes on behind it.
func (r *fileReader) read(p []byte) (n int, err error) {
	if r.offset >= r.next.to {
		r.next = r.segment(r.offset)
	}
	if hole := r.next.from - r.offset; hole > 0 {
		n = int(min(int64(len(p)), hole))
		clear(p[:n])
	} else {
		n, err = r.file.ReadAt(p[:min(int64(len(p)), r.next.to-r.offset)], r.offset)
	}
	_, _ = r.sum.Write(p[:n])
	r.offset += int64(n)
	return n, err
}

// unchanged compares the file with what it was when it was opened.
func (r *fileReader) unchanged() error {
	now, err := r.file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !sameBytes(r.before, now):
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, revisionOf(r.before), revisionOf(now))
	case revisionOf(r.before) == revisionOf(now):
		return nil
	}
	return r.readAgain(now)
}

// sameBytes tells whether size, time of the last write and inode are the same.
func sameBytes(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// readAgain reads what was read once more, and compares. now is the file's status at its beginning.
func (r *fileReader) readAgain(now fs.FileInfo) error {
	again, buffer := newFileReader(r.ctx, r.file, r.before), make([]byte, 1<<20)
	for again.offset < r.offset {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		n, err := again.read(buffer[:min(int64(len(buffer)), r.offset-again.offset)])
		if n == 0 && err != nil {
			return fmt.Errorf("%w: read again at byte %d: %v", ErrChanged, again.offset, err)
		}
	}
	after, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if again.sum.Sum128() != r.sum.Sum128() || !sameBytes(now, after) {
		return fmt.Errorf("%w: it was written to and its time put back: was %s, is %s", ErrChanged, revisionOf(r.before), revisionOf(after))
	}
	return nil
}

// Close may be called while Read waits, and more than once.
func (r *fileReader) Close() error {
	if err := r.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
