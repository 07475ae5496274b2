package kinds

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/rawfile"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
)

// fileBackend has volumes that are files in a directory.
type fileBackend struct {
	Path        config.Path     `toml:"path"`
	VolumeOwner string          `toml:"volume_owner"`
	VolumeGroup string          `toml:"volume_group"`
	VolumeMode  config.FileMode `toml:"volume_mode"`
}

// Check implements config.Settings.
func (b *fileBackend) Check(t *config.Table) {
	t.Volumes("path", &b.Path)
	const key = "volume_mode"
	switch mode := b.VolumeMode; {
	case !t.Given(key):
	case mode&0o600 != 0o600:
		t.Problem(key, fmt.Sprintf("with %s its owner could not read and write a volume", mode), `give "0600" or "0660"`)
	case mode&0o007 != 0:
		t.Problem(key, fmt.Sprintf("with %s everybody on this host could use a volume", mode), `give "0600" or "0660", and name a group`)
	case mode&0o111 != 0:
		t.Problem(key, fmt.Sprintf("%s lets volumes be run as programs", mode), `give "0600" or "0660"`)
	}
}

// Open implements Backend.
func (b *fileBackend) Open(ctx context.Context, name backends.Name, h Host) (backends.Backend, error) {
	record, err := keepRecord(h.StateDir, name, b.Path)
	if err != nil {
		return nil, err
	}
	return file.Open(ctx, file.Config{Name: name, Path: string(b.Path), Record: record, Owner: b.owner(), Log: h.Log})
}

func (b *fileBackend) owner() file.Owner {
	return file.Owner{User: b.VolumeOwner, Group: b.VolumeGroup, Mode: os.FileMode(b.VolumeMode)}
}

// Try implements Backend.
func (b *fileBackend) Try(_ context.Context, t *Part) {
	at := t.storeDirectory("backend", b.Path)
	if owner := b.owner(); at != "" && owner != (file.Owner{}) {
		if err := owner.Try(at); err != nil {
			t.Problem("volume_owner", err,
				"make the user and the group; only root may give files to other users: run the daemon as root, or give volume_group one of its user's own groups")
		}
	}
}

// Expected implements Backend.
func (b *fileBackend) Expected() backends.Info {
	return backends.Info{Location: string(b.Path), CanClone: true, IndependentClones: true, Paths: true}
}

// VolumeType implements Backend.
func (*fileBackend) VolumeType() string { return "" }

// storeDirectory tries a directory that is a store's. It returns the nearest one that is there; "" where it
// cannot be used.
func (t *Part) storeDirectory(what string, path config.Path) (at string) {
	dir := string(path)
	if at = t.store(what+" "+t.Name, dir, knownRecord(t.trial.StateDir, backends.Name(t.Name), path)); at == "" {
		return ""
	}
	own := filepath.Join(dir, ".clonecache")
	if isLocked(filepath.Join(own, "lock")) && !isLocked(filepath.Join(t.trial.StateDir, "lock")) {
		t.Problem("path", fmt.Errorf("another clonecache uses %s", dir), "stop that one, or give this one a directory of its own")
		return at
	}
	is, err := rawfile.Look(own)
	if err != nil {
		t.Problem("path", err, "let the daemon's user read it")
		return at
	}
	if place := placeOf(dir); place != "" {
		is.Places = append(is.Places, place)
	}
	t.belongs("path", is, "a directory of its own")
	return at
}

// placeOf tells a directory from all others, whatever paths lead to it; "" where it is not there yet.
func placeOf(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("directory %d of device %d", s.Ino, s.Dev)
}

// store checks a directory for volumes or images, and finds out whether it has reflinks. The record is of the
// store that it was when a daemon last opened it. It returns the nearest directory that is there; "" where it
// cannot be used.
func (t *Part) store(name, path, record string) (at string) {
	const key = "path"
	if at = t.trial.Directory(t.key(key), path); at == "" {
		return ""
	}
	known := rawfile.Known{Dir: path, Marker: rawfile.Marker(filepath.Join(path, ".clonecache")), Record: record}
	if !t.trial.stateBad {
		if err := known.Check(); err != nil {
			t.Problem(key, err, "mount its filesystem, or do as docs/operations.md says of a store that was exchanged")
			return ""
		}
	}
	f, err := rawfile.Probe(at)
	if err != nil {
		t.Problem(key, err, "use a local filesystem with room on it")
		return ""
	}
	where := path
	if at != path {
		where = path + ", to be made in " + at
	}
	if f.Reflinks {
		t.Fact("%s: %s (%s) has reflinks: volumes are clones", name, where, f.Filesystem)
	} else {
		t.Fact("%s: %s (%s) has no reflinks: volumes are copies", name, where, f.Filesystem)
	}
	return at
}
