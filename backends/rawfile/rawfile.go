// Package rawfile makes raw files that appear whole under their name or not at all, each with a small
// record of ours. The file backend makes its volumes with it, package imagefile its image-volumes.
//
// It owns how a file is written unseen, made durable, published without ever replacing another one,
// and how bytes come from one file into another (reflink, copy_file_range, reading and writing). It
// does not know what the files mean. It is for Linux.
//
// After a crash there is nothing of a file that was not published, where the filesystem has O_TMPFILE;
// elsewhere there is a file in the staging directory, which the owner removes.
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

// Place is a directory in which files appear. It may be used by several goroutines.
type Place struct {
	dir      *os.File
	synced   *syncs // of dir
	staging  *os.File
	features Features
	stamps   Stamps
}

// PlaceConfig says where a Place keeps what. All directories exist and lie on one filesystem.
type PlaceConfig struct {
	Dir      string // where files appear
	Staging  string // where files lie before they appear, without O_TMPFILE
	Features Features
	Stamps   Stamps
}

// OpenPlace opens the directories of a Place and keeps them open until Close.
func OpenPlace(c PlaceConfig) (*Place, error) {
	dir, err := os.Open(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", Explain(err))
	}
	staging, err := os.Open(c.Staging)
	if err != nil {
		_ = dir.Close()
		return nil, fmt.Errorf("open staging directory: %w", Explain(err))
	}
	return &Place{dir: dir, synced: newSyncs(dir.Sync), staging: staging, features: c.Features, stamps: c.Stamps}, nil
}

// Close gives the directories back. Drafts of this Place must be ended before.
func (p *Place) Close() error { return errors.Join(p.dir.Close(), p.staging.Close()) }

// Path is where the file of that name is, or would be.
func (p *Place) Path(name string) string { return filepath.Join(p.dir.Name(), name) }

// StagingPath is where a file's draft lies, without O_TMPFILE.
func (p *Place) StagingPath(draft string) string { return filepath.Join(p.staging.Name(), draft) }

// Stamps is where the records of this Place's files are kept.
func (p *Place) Stamps() Stamps { return p.stamps }

// Open opens the regular file of that name for reading. It never follows a symbolic link, and never
// opens a device or waits on a pipe.
// backends.ErrNotExist: there is nothing by that name. backends.ErrNotOurs: it is no regular file.
func (p *Place) Open(name string) (*os.File, fs.FileInfo, error) {
	return OpenRegular(p.Path(name))
}

func OpenRegular(path string) (*os.File, fs.FileInfo, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, nil, Explain(err)
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is no regular file: %w", path, backends.ErrNotOurs)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, Explain(err)
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(before, info) {
		err = fmt.Errorf("%s was exchanged while it was opened: %w", path, backends.ErrUnavailable)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, Explain(err)
	}
	return f, info, nil
}

// Exists tells whether anything at all bears that name.
func (p *Place) Exists(name string) (bool, error) {
	return exists(p.Path(name))
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, Explain(err)
}

// Remove takes the name of f, which Open opened, out of the directory, durably, and drops its record. Who
// has the file open keeps reading it.
func (p *Place) Remove(name string, f *os.File) error {
	if err := Explain(os.Remove(p.Path(name))); err != nil {
		return err
	}
	if err := p.stamps.Drop(f); err != nil {
		return err
	}
	return Explain(p.synced.do())
}

// Occupied is how many bytes of its filesystem the file takes up, shared ones included.
func Occupied(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*unixStat); ok {
		return st.Blocks * 512
	}
	return 0
}

// Capacity is the size of the filesystem at path, free as for a user without privileges.
func Capacity(path string) (backends.Capacity, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(path, &st) }); err != nil {
		return backends.Capacity{}, fmt.Errorf("capacity: %w", Explain(onPath("statfs", path, err)))
	}
	return backends.Capacity{TotalBytes: int64(st.Blocks) * st.Frsize, FreeBytes: int64(st.Bavail) * st.Frsize}, nil
}

// Identities is the set of all regular files in the directories, by Identity.
func Identities(dirs ...string) (map[string]bool, error) {
	ids := map[string]bool{}
	for _, dir := range dirs {
		found, err := os.ReadDir(dir)
		if err != nil {
			return nil, Explain(err)
		}
		for _, entry := range found {
			if !entry.Type().IsRegular() {
				continue
			}
			f, _, err := OpenRegular(filepath.Join(dir, entry.Name()))
			if errors.Is(err, backends.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				continue // one that we may not read is none of ours
			}
			if err != nil {
				return nil, err
			}
			id, err := Identity(f)
			_ = f.Close()
			if err != nil {
				return nil, err
			}
			ids[id] = true
		}
	}
	return ids, nil
}
