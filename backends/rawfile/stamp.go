package rawfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
)

// attribute is the extended attribute that holds a file's record.
const attribute = "user.clonecache"

// attributeLimit is how long a record, in bytes, still goes into an extended attribute: ext4 has one
// block of 4 KiB for all of a file's attributes.
const attributeLimit = 2 << 10

// ErrNoStamp: the file has no record of ours.
var ErrNoStamp = errors.New("no clonecache record")

// Stamps keeps one record per file: in an extended attribute where there are such and the record is
// short, else in a side file that is named by the file's inode and birth, so that it can exist before
// the file has a name, and that a file which took over the name or the inode does not inherit it.
type Stamps struct {
	Xattrs bool
	Side   string // directory of the side files; it exists
}

// Set keeps record with f, in place of the one before. It is durable once f is synced.
func (s Stamps) Set(f *os.File, record []byte) error {
	if s.Xattrs && len(record) <= attributeLimit {
		err := retry(func() error { return unix.Fsetxattr(int(f.Fd()), attribute, record, 0) })
		return Explain(onPath("setxattr", f.Name(), err))
	}
	if s.Xattrs { // an older, shorter record would be found first
		if err := unix.Fremovexattr(int(f.Fd()), attribute); err != nil && !errors.Is(err, unix.ENODATA) {
			return Explain(onPath("removexattr", f.Name(), err))
		}
	}
	return s.setSide(f, record)
}

// setSide replaces the side file whole, and makes it durable at once.
func (s Stamps) setSide(f *os.File, record []byte) error {
	path, err := s.sidePath(f)
	if err != nil {
		return err
	}
	side, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Explain(err)
	}
	_, err = side.Write(record)
	err = errors.Join(err, side.Sync(), side.Close())
	if err == nil {
		err = os.Rename(side.Name(), path)
	}
	if err == nil {
		return syncDir(s.Side)
	}
	_ = os.Remove(side.Name())
	return fmt.Errorf("write side file: %w", Explain(err))
}

// Get reads the record of f. ErrNoStamp: it has none. backends.ErrNotExist: it has none any more, since somebody has removed the
// file after it was opened.
func (s Stamps) Get(f *os.File) ([]byte, error) {
	if s.Xattrs {
		record, err := getAttribute(f)
		if !errors.Is(err, ErrNoStamp) {
			return record, err
		}
	}
	path, err := s.sidePath(f)
	if err != nil {
		return nil, err
	}
	record, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noSideFile(f)
	}
	return record, Explain(err)
}

// noSideFile tells a file that never had a side file from one that was removed: its name goes first, and then its side file.
func noSideFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return Explain(err)
	}
	if st, ok := info.Sys().(*unixStat); ok && st.Nlink == 0 {
		return fmt.Errorf("%s was removed: %w", f.Name(), backends.ErrNotExist)
	}
	return ErrNoStamp
}

func getAttribute(f *os.File) ([]byte, error) {
	record := make([]byte, 2*attributeLimit)
	var n int
	err := retry(func() (err error) {
		n, err = unix.Fgetxattr(int(f.Fd()), attribute, record)
		return err
	})
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, ErrNoStamp
	}
	if err != nil {
		return nil, Explain(onPath("getxattr", f.Name(), err))
	}
	return record[:n:n], nil
}

// Drop removes what Set left beside f. A record in an attribute goes with its file.
func (s Stamps) Drop(f *os.File) error {
	path, err := s.sidePath(f)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Explain(err)
	}
	return nil
}

// Remove takes the record away from f, which stays as it is.
func (s Stamps) Remove(f *os.File) error {
	if s.Xattrs {
		err := retry(func() error { return unix.Fremovexattr(int(f.Fd()), attribute) })
		if err != nil && !errors.Is(err, unix.ENODATA) {
			return Explain(onPath("removexattr", f.Name(), err))
		}
	}
	return s.Drop(f)
}

// Sweep removes side files that belong to no live file, as a crash leaves them. Call it while no file
// is being made. live lists the files by Identity; it is only called if there are side files.
func (s Stamps) Sweep(live func() (map[string]bool, error)) error {
	found, err := os.ReadDir(s.Side)
	if err != nil || len(found) == 0 {
		return Explain(err)
	}
	keep, err := live()
	if err != nil {
		return err
	}
	for _, side := range found {
		if keep[side.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(s.Side, side.Name())); err != nil {
			return fmt.Errorf("remove orphaned side file: %w", Explain(err))
		}
	}
	return nil
}

func (s Stamps) sidePath(f *os.File) (string, error) {
	id, err := Identity(f)
	if err != nil {
		return "", err
	}
	return filepath.Join(s.Side, id), nil
}

// Identity names a file on its filesystem: the inode, and when it was born where the filesystem says so.
func Identity(f *os.File) (string, error) {
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st)
	})
	if err != nil {
		return "", Explain(onPath("statx", f.Name(), err))
	}
	return fmt.Sprintf("%x-%x-%x", st.Ino, st.Btime.Sec, st.Btime.Nsec), nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return Explain(err)
	}
	return Explain(errors.Join(dir.Sync(), dir.Close()))
}
