package plugin

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// StateLock makes a state directory one process's own. It goes with the process, however that ends.
type StateLock struct{ file *flock.Flock }

// LockState makes dir, where it is missing, and locks it. A program calls it before Open if it makes things that only
// the owner of dir may make; Open locks dir by itself too. ErrLocked: another process has the lock, or another Plugin of
// this process.
func LockState(dir string) (*StateLock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	file := flock.New(filepath.Join(dir, "lock"))
	got, err := file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !got {
		return nil, fmt.Errorf("%w: %s; stop that one, or configure another state_dir", ErrLocked, dir)
	}
	return &StateLock{file: file}, nil
}

// Unlock lets another process have the directory. Repeating it is harmless.
func (l *StateLock) Unlock() error { return l.file.Unlock() }
