package diskimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// scratchPrefix begins the names of files that live for a moment, where O_TMPFILE is not supported.
const scratchPrefix = "clonecache-scratch-"

// DirScratch is a Scratch below one directory, bounded in sum. It may be used from several goroutines.
// Its files have no names, so that a crash leaves nothing.
type DirScratch struct {
	dir string
	max int64

	mu   sync.Mutex
	used int64 // by all open files
}

// NewDirScratch makes dir where it is missing, empties it of what an earlier process left and bounds all
// files together to maxBytes, in whole blocks of 4096. Only files that a DirScratch made are removed.
func NewDirScratch(dir string, maxBytes int64) (*DirScratch, error) {
	if maxBytes <= 0 {
		return nil, fmt.Errorf("scratch directory %s: a bound of %d bytes", dir, maxBytes)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	for _, f := range found {
		if !strings.HasPrefix(f.Name(), scratchPrefix) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("empty scratch directory: %w", err)
		}
	}
	return &DirScratch{dir: dir, max: maxBytes}, nil
}

// File implements Scratch.
func (s *DirScratch) File() (ScratchFile, error) {
	f, err := os.OpenFile(s.dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		f, err = createUnlinked(s.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	return &dirScratchFile{File: f, scratch: s}, nil
}

func createUnlinked(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, scratchPrefix)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// reserve counts n more bytes, or fewer where n is negative.
func (s *DirScratch) reserve(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.max-s.used {
		return fmt.Errorf("%d of %d bytes in use: %w", s.used, s.max, ErrScratchFull)
	}
	s.used += n
	return nil
}

// scratchBlock is in how many bytes a filesystem gives space to a file with holes: a byte takes as much.
const scratchBlock = 4096

// dirScratchFile counts the blocks that are written to; what is written twice counts twice.
type dirScratchFile struct {
	*os.File
	scratch *DirScratch

	mu     sync.Mutex
	held   int64
	next   int64 // behind the block that was written to last
	closed bool
}

// WriteAt implements ScratchFile. A file system that is full is a scratch that is full.
func (f *dirScratchFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.hold(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := f.File.WriteAt(p, off)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w: %w", ErrScratchFull, err)
	}
	return n, err
}

// hold counts the blocks that n bytes at off touch, but for the one that the last write ended in.
func (f *dirScratchFile) hold(off, n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	if n == 0 {
		return nil
	}
	first, end := off/scratchBlock, (off+n-1)/scratchBlock+1
	if first == f.next-1 {
		first++
	}
	bytes := (end - first) * scratchBlock
	if err := f.scratch.reserve(bytes); err != nil {
		return err
	}
	f.held += bytes
	f.next = end
	return nil
}

// Close gives the bytes back. A second Close does nothing.
func (f *dirScratchFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	err := f.File.Close()
	return errors.Join(err, f.scratch.reserve(-f.held))
}
