package rawfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
)

// Lock takes the file at path, which it makes, for this process alone, until the returned file is
// closed or the process ends. backends.ErrInUse: another one has it; nothing is waited for.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", Explain(err))
	}
	err = retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("another clonecache uses this directory (it holds %s): %w", path, backends.ErrInUse)
	}
	return nil, fmt.Errorf("lock: %w", Explain(onPath("flock", path, err)))
}
