package rawfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
)

// Reflink makes dst share all of src's blocks and take its length. What it costs grows with the number
// of src's extents, not with its size.
// backends.ErrCannotClone: the filesystem has no reflinks, or the files are on two filesystems.
func Reflink(dst, src *os.File) error {
	err := retry(func() error { return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) })
	if err != nil && unsupported(err) {
		return fmt.Errorf("%w: %w", backends.ErrCannotClone, err)
	}
	return Explain(onPath("reflink", dst.Name(), err))
}

// copyChunk is how many bytes are copied between two looks at ctx.
const copyChunk = 8 << 20

// Copy brings the content of src into dst, which is empty: by reflink, else inside the kernel, else by
// reading and writing, whichever works first. Holes stay holes. dst is at least as long as src
// afterwards. progress, if there is one, is called with the bytes of src that are done, holes
// included. src's own offset moves. Cancelling ctx ends it soon, with a part of the content in dst.
func Copy(ctx context.Context, dst, src *os.File, progress func(copied int64)) (backends.CopyMethod, error) {
	info, err := src.Stat()
	if err != nil {
		return "", Explain(err)
	}
	if progress == nil {
		progress = func(int64) {}
	}
	switch err := Reflink(dst, src); {
	case err == nil:
		progress(info.Size())
		return backends.CopiedByReflink, nil
	case !errors.Is(err, backends.ErrCannotClone):
		return "", err
	}
	c := copier{dst: dst, src: src, size: info.Size(), progress: progress, piece: copyRange, method: backends.CopiedInKernel}
	return c.run(ctx)
}

// copier copies the data of one file, segment by segment.
type copier struct {
	dst, src *os.File
	size     int64
	progress func(int64)
	method   backends.CopyMethod
	piece    func(dst, src *os.File, off, n int64) (int64, error)
	buffer   []byte
}

func (c *copier) run(ctx context.Context) (backends.CopyMethod, error) {
	if err := c.dst.Truncate(c.size); err != nil {
		return "", Explain(err)
	}
	for off := int64(0); off < c.size; {
		data, hole, err := segment(c.src, off, c.size)
		if err != nil {
			return "", Explain(err)
		}
		if err := c.copy(ctx, data, hole); err != nil {
			return "", Explain(err)
		}
		off = hole
	}
	c.progress(c.size)
	return c.method, nil
}

func (c *copier) copy(ctx context.Context, off, end int64) error {
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := c.piece(c.dst, c.src, off, min(copyChunk, end-off))
		if err != nil && c.method == backends.CopiedInKernel && unsupported(err) {
			c.method, c.piece = backends.CopiedByWriting, c.readWrite
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%s became shorter while it was copied: %w", c.src.Name(), io.ErrUnexpectedEOF)
		}
		off += n
		c.progress(off)
	}
	return nil
}

// segment finds the next data of f at or after off: [data, hole). Both are end where there is none. A
// filesystem that does not know its holes has one segment.
func segment(f *os.File, off, end int64) (data, hole int64, err error) {
	data, err = f.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return end, end, nil
	}
	if err != nil && unsupported(err) {
		return off, end, nil
	}
	if err != nil {
		return 0, 0, err
	}
	hole, err = f.Seek(data, unix.SEEK_HOLE)
	return min(data, end), min(hole, end), err
}

// NextData is the first data of f at or behind off: [from, to). Both are size where there is none any more. A
// filesystem that does not know its holes has one segment.
func NextData(f *os.File, off, size int64) (from, to int64, err error) {
	if off >= size {
		return size, size, nil
	}
	from, to, err = segment(f, off, size)
	return from, to, Explain(err)
}

// Reader is a file whose content is read, which tells holes from data.
type Reader struct {
	*os.File
	Size int64
}

// NextData implements backends.HoleTeller.
func (r Reader) NextData(ctx context.Context, off int64) (from, to int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	return NextData(r.File, off, r.Size)
}

// ForgetCached implements backends.CacheForgetter.
func (r Reader) ForgetCached() {
	_ = withDescriptor(r.File, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) }) // advice, and no more
}

func copyRange(dst, src *os.File, off, n int64) (int64, error) {
	from, to, copied := off, off, 0
	err := retry(func() (err error) {
		copied, err = unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(n), 0)
		return err
	})
	return int64(copied), onPath("copy_file_range", dst.Name(), err)
}

func (c *copier) readWrite(dst, src *os.File, off, n int64) (int64, error) {
	if c.buffer == nil {
		c.buffer = make([]byte, 1<<20)
	}
	read, err := src.ReadAt(c.buffer[:min(n, int64(len(c.buffer)))], off)
	if read == 0 && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if allZero(c.buffer[:read]) {
		return int64(read), nil
	}
	written, err := dst.WriteAt(c.buffer[:read], off)
	return int64(written), err
}

func allZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
