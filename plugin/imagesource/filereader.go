package imagesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

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

// fileReader reads a file that must not change meanwhile.
type fileReader struct {
	ctx      context.Context // covers the reading, as Source.Open says
	file     *os.File
	size     int64
	offset   int64
	revision string
}

func newFileReader(ctx context.Context, file *os.File, info fs.FileInfo) *fileReader {
	// Only a hint: without it the kernel reads less ahead.
	_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
	return &fileReader{ctx: ctx, file: file, size: info.Size(), revision: revisionOf(info)}
}

// Read implements io.Reader: ErrChanged at the end where the file is not what it was, ErrTruncated
// where it ends early.
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
	n, err := r.file.Read(p[:min(int64(len(p)), rest)])
	r.offset += int64(n)
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

func (r *fileReader) unchanged() error {
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if now := revisionOf(info); now != r.revision {
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, r.revision, now)
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
