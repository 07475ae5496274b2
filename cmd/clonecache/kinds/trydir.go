package kinds

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// State checks state_dir and scratch_dir, as Directory does. What is wrong with state_dir is said once, and not of
// what lies in it.
func (t *Trial) State(scratchDir string) {
	t.stateBad = t.Directory("state_dir", t.StateDir) == ""
	if !t.stateBad || !strings.HasPrefix(scratchDir, t.StateDir+"/") {
		t.Directory("scratch_dir", scratchDir)
	}
}

// Directory checks that a directory can be written to, or made. It returns the nearest one that is
// there; "" where it cannot be used.
func (t *Trial) Directory(key, path string) string {
	at, err := nearest(path)
	switch {
	case errors.Is(err, errNoDirectory):
		t.Problem(key, err, "give another path, or move it away")
		return ""
	case errors.Is(err, unix.ENAMETOOLONG):
		t.Problem(key, errors.New("one of its names is longer than filesystems take"), "give a shorter path")
		return ""
	case err != nil:
		t.Problem(key, err, "give this user the right to look there")
		return ""
	}
	if err := mayMake(at); errors.Is(err, unix.EROFS) {
		t.Problem(key, fmt.Errorf("%s cannot be written to: %w", at, err), "mount it for writing, or, where systemd runs the daemon, name it in ReadWritePaths= of the unit; where the kernel took that away, dmesg says why")
		return ""
	} else if errors.Is(err, unix.EACCES) {
		t.Problem(key, fmt.Errorf("%s cannot be written to: %w", at, err), fmt.Sprintf("run this as the daemon's user, or make %s and give it to that user", path))
		return ""
	} else if err != nil {
		t.Problem(key, fmt.Errorf("nothing can be made in %s: %w", at, err), "give a path on a filesystem with room on it")
		return ""
	}
	return at
}

// errNoDirectory: something else has the path of a directory.
var errNoDirectory = errors.New("is not a directory")

// nearest is a directory, or the nearest one above it that is there. errNoDirectory.
func nearest(path string) (string, error) {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && info.IsDir():
			return at, nil
		case err == nil:
			return "", fmt.Errorf("%s %w", at, errNoDirectory)
		case errors.Is(err, unix.ENOTDIR): // what is in the way is further up
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		default:
			if to, err := os.Readlink(at); err == nil {
				return "", fmt.Errorf("%s %w: it is a link to %s, which is not there", at, errNoDirectory, to)
			}
		}
	}
}

// mayMake finds out whether a directory can be made in one, and leaves none.
func mayMake(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return err
	}
	made, err := os.MkdirTemp(dir, ".clonecache-check-")
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			return path.Err
		}
		return err
	}
	return os.Remove(made)
}
