package file

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"

	"github.com/clonecache/clonecache/backends/rawfile"
)

// Owner says whose volumes are, and who may use them. The zero Owner leaves them to the process: its user, its
// group, 0660 less its umask.
type Owner struct {
	User  string      // name or number; "": the process's
	Group string      // name or number; "": the process's, or what the directory hands down
	Mode  fs.FileMode // permissions, whatever the umask; 0: 0660 less the umask
}

// access is an Owner with its names looked up; -1 leaves an ID as it is.
type access struct {
	uid, gid int
	mode     fs.FileMode
}

// access looks the names up.
func (o Owner) access() (access, error) {
	uid, err := idOf(o.User, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	if err != nil {
		return access{}, fmt.Errorf("owner of volumes: %w", err)
	}
	gid, err := idOf(o.Group, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	if err != nil {
		return access{}, fmt.Errorf("group of volumes: %w", err)
	}
	return access{uid: uid, gid: gid, mode: o.Mode.Perm()}, nil
}

// idOf is a number, given as such or by its name; -1 for "".
func idOf(name string, look func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	number := name
	if _, err := strconv.ParseUint(name, 10, 31); err != nil {
		if number, err = look(name); err != nil {
			return 0, err
		}
	}
	id, err := strconv.ParseUint(number, 10, 31)
	return int(id), err
}

// give makes f what a says. The mode comes last: a change of owner may take bits away.
func (a access) give(f *os.File) error {
	if a.uid >= 0 || a.gid >= 0 {
		if err := f.Chown(a.uid, a.gid); err != nil {
			return fmt.Errorf("give the volume to its owner: %w", rawfile.Explain(err))
		}
	}
	if a.mode == 0 {
		return nil
	}
	return rawfile.Explain(f.Chmod(a.mode))
}

// Try gives a file in dir to the owner, and removes it: whether this process may. Only root may give files
// away; a group may be one of the process's own.
func (o Owner) Try(dir string) error {
	a, err := o.access()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".clonecache-try-")
	if err != nil {
		return rawfile.Explain(err)
	}
	defer f.Close()
	defer func() { _ = os.Remove(f.Name()) }()
	return a.give(f)
}
