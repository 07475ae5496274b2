package rawfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
)

type unixStat = syscall.Stat_t

// meanings is which decision of a caller an errno of the filesystem leads to.
var meanings = []struct {
	errno error
	means error
}{
	{unix.ENOSPC, backends.ErrNoSpace},
	{unix.EDQUOT, backends.ErrNoSpace},
	{unix.EFBIG, backends.ErrTooLarge},
	{fs.ErrNotExist, backends.ErrNotExist},
	{fs.ErrExist, backends.ErrExist},
	{unix.EROFS, backends.ErrUnavailable},
	{unix.EIO, backends.ErrUnavailable},
	{unix.ENODEV, backends.ErrUnavailable},
	{unix.ENXIO, backends.ErrUnavailable},
	{unix.ESTALE, backends.ErrUnavailable},
	{unix.ESHUTDOWN, backends.ErrUnavailable},
	{unix.ENOTCONN, backends.ErrUnavailable},
	{unix.ETIMEDOUT, backends.ErrUnavailable},
	{unix.EMFILE, backends.ErrUnavailable},
	{unix.ENFILE, backends.ErrUnavailable},
	{unix.ENOMEM, backends.ErrUnavailable},
	{unix.ENAMETOOLONG, backends.ErrBadName},
}

// Explain adds to an error of the filesystem the error of package backends that it means to a caller,
// where there is one. It leaves errors alone that say so already, and nil.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	for _, m := range meanings {
		if errors.Is(err, m.errno) && !errors.Is(err, m.means) {
			return fmt.Errorf("%w: %w", m.means, err)
		}
	}
	return err
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// onPath puts the call and the path into an errno, as package os does.
func onPath(call, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: call, Path: path, Err: err}
}

// unsupported tells whether a call failed because this filesystem, or this pair of files, does not have it.
func unsupported(err error) bool {
	for _, errno := range []error{unix.EOPNOTSUPP, unix.ENOTTY, unix.EINVAL, unix.ENOSYS, unix.EXDEV, unix.EISDIR} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
