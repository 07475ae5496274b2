package rawfile

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
)

// A listing of ours, which has each file open for a moment, is waited for.
const (
	leaseTries = 10
	leasePause = 2 * time.Millisecond
)

func lease(f *os.File) error {
	return retry(func() error {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
		return err
	})
}

// Alone makes sure that no other descriptor of f is open, in this process or another, and that opening f waits until f is
// closed. A write lease does both: the kernel grants it only to the sole opener of a file.
// Where the filesystem knows no leases (NFS) nothing is made sure of.
// backends.ErrInUse: somebody has it open, or the file is another user's now.
func Alone(f *os.File) error {
	err := lease(f)
	for tries := 1; errors.Is(err, unix.EAGAIN) && tries < leaseTries; tries++ {
		time.Sleep(leasePause)
		err = lease(f)
	}
	switch {
	case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOLCK):
		return nil
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("somebody has %s open: %w", f.Name(), backends.ErrInUse)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s belongs to another user now: %w", f.Name(), backends.ErrInUse)
	}
	return Explain(onPath("lease", f.Name(), err))
}
