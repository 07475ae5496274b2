package rawfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
)

// Features is what a filesystem was found to have, by trying.
type Features struct {
	Filesystem string // its kind, for people
	Xattrs     bool   // user.* extended attributes
	Unnamed    bool   // O_TMPFILE, and a link to it later, of which a sync keeps the content too
	Reflinks   bool   // FICLONE

	// OrderedMetadata: the filesystem's journal keeps the order of changes to metadata, so that one
	// fsync of a file makes durable what was done to it before, its new name included, and none brings
	// the name to disk without the content. True for XFS, where it is tried by cutting the power at every
	// flush (e2e/powerloss), and false for btrfs, where that fails; elsewhere nothing is taken for granted.
	OrderedMetadata bool

	// DirectWrites: large content is written past the page cache (O_DIRECT), into space that is set aside
	// before. True for XFS, where that was found to pay.
	DirectWrites bool
}

var filesystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "XFS",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.NFS_SUPER_MAGIC:       "NFS",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	unix.F2FS_SUPER_MAGIC:      "F2FS",
}

// Probe tries what the filesystem of dir can do, with small files in dir which it removes again.
func Probe(dir string) (Features, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return Features{}, fmt.Errorf("probe filesystem: %w", Explain(onPath("statfs", dir, err)))
	}
	f := Features{Filesystem: filesystems[int64(st.Type)]}
	if f.Filesystem == "" {
		f.Filesystem = fmt.Sprintf("filesystem type %#x", uint32(st.Type))
	}
	f.OrderedMetadata = st.Type == unix.XFS_SUPER_MAGIC
	f.DirectWrites = st.Type == unix.XFS_SUPER_MAGIC
	if err := f.try(dir); err != nil {
		return Features{}, fmt.Errorf("probe filesystem of %s: %w", dir, Explain(err))
	}
	if st.Type == unix.BTRFS_SUPER_MAGIC {
		// Kernels before 6.17 do not log a file without a name when it is synced (nor need they: nobody
		// would find it), and a sync of the directory it is linked to afterwards logs an empty file.
		f.Unnamed = false
	}
	return f, nil
}

func (f *Features) try(dir string) error {
	a, b, err := f.probeFiles(dir)
	if err != nil {
		return err
	}
	defer a.Close()
	defer b.Close()
	switch err := unix.Fsetxattr(int(a.Fd()), attribute, []byte("{}"), 0); {
	case err == nil:
		f.Xattrs = true
	case !unsupported(err) && !errors.Is(err, unix.ENOSPC):
		return onPath("setxattr", dir, err)
	}
	content := bytes.Repeat([]byte("clonecache probe"), 64<<10/16)
	if _, err := a.WriteAt(content, 0); err != nil && !errors.Is(err, unix.ENOSPC) {
		return err // a full filesystem is probed with an empty file
	}
	switch err := Reflink(b, a); {
	case err == nil:
		f.Reflinks = true
	case !errors.Is(err, backends.ErrCannotClone):
		return err
	}
	return nil
}

// probeFiles makes two files without a name, and finds out whether that needs a trick.
func (f *Features) probeFiles(dir string) (a, b *os.File, err error) {
	a, err = openUnnamed(dir, 0o600)
	if err == nil {
		f.Unnamed = true
		if b, err = openUnnamed(dir, 0o600); err != nil {
			_ = a.Close()
		}
		return a, b, err
	}
	if !unsupported(err) {
		return nil, nil, err
	}
	if a, err = openUnlinked(dir); err != nil {
		return nil, nil, err
	}
	if b, err = openUnlinked(dir); err != nil {
		_ = a.Close()
	}
	return a, b, err
}

func openUnlinked(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func openUnnamed(dir string, mode uint32) (*os.File, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, onPath("open O_TMPFILE", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}
