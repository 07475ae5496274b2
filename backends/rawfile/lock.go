package rawfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
)

// Lock takes the file at path, which it makes, for this process alone, until the returned file is
// closed or the process ends. It does not keep the filesystem from being remounted read-only, except on
// NFS, which locks only what is open for writing.
// backends.ErrInUse: another process has it; nothing is waited for.
func Lock(path string) (*os.File, error) {
	f, err := lock(path, os.O_RDONLY)
	if errors.Is(err, unix.EBADF) {
		f, err = lock(path, os.O_RDWR)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("another clonecache uses this directory (it holds %s): %w", path, backends.ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", Explain(err))
	}
	return f, nil
}

func lock(path string, access int) (*os.File, error) {
	f, err := os.OpenFile(path, access|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		_ = f.Close()
		return nil, onPath("flock", path, err)
	}
	return f, nil
}
