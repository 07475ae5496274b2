package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// A daemon and a catalog have IDs of their own. Names of hosts are for people: they change, and two hosts
// may have one.

// InstanceID names one daemon: the same after each restart, whatever its host is called.
type InstanceID = catalog.InstanceID

// The files in StateDir that hold them, each a UUID.
const (
	instanceFile = "instance-id"
	catalogFile  = "catalog-id"
)

// InstanceOf is the ID of the daemon whose state directory dir is: what its leases, its journal and what it
// makes on a Ceph cluster bear. It is made, durably, where there is none. The caller has locked dir.
func InstanceOf(dir string) (InstanceID, error) {
	id, err := readOrMakeID(filepath.Join(dir, instanceFile))
	return InstanceID(id), err
}

// CatalogOf is the ID that the catalog in the state directory dir has, or will get when it is made: the file
// outlives a catalog that is lost, so that stores still know whom they are held by. It is made, durably,
// where there is none. The caller has locked dir.
func CatalogOf(dir string) (backends.CatalogID, error) {
	id, err := readOrMakeID(filepath.Join(dir, catalogFile))
	return backends.CatalogID(id), err
}

// KnownCatalogOf is CatalogOf for who has not locked dir and makes nothing: "" where none is known yet.
func KnownCatalogOf(dir string) (backends.CatalogID, error) {
	id, err := readID(filepath.Join(dir, catalogFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return backends.CatalogID(id), err
}

// identify finds out which catalog is open, and makes it this instance's own if no other one can have it. Where catalog and file differ,
// the catalog is right: it has been brought from elsewhere.
func (h *house) identify(ctx context.Context) error {
	known, err := CatalogOf(h.cfg.StateDir)
	if err != nil {
		return err
	}
	if h.self, err = h.catalog.Identify(ctx, known); err != nil {
		return err
	}
	if h.self != known {
		h.log.WithFields(map[string]any{"catalog": h.self, "state_dir_had": known}).Warn("the catalog is not the one that state_dir had before; it counts")
		if err := writeID(filepath.Join(h.cfg.StateDir, catalogFile), string(h.self)); err != nil {
			return err
		}
	}
	if !h.sole {
		return nil
	}
	return h.catalog.Inherit(ctx, h.holder.Instance)
}

// readOrMakeID is readID of a file that is made where there is none.
func readOrMakeID(path string) (string, error) {
	id, err := readID(path)
	if errors.Is(err, fs.ErrNotExist) {
		id = uuid.NewString()
		return id, writeID(path, id)
	}
	return id, err
}

// readID reads the UUID in a file. A file that holds none is an error: guessing would make a stranger of what is
// ours.
func readID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id, err := uuid.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s holds no UUID; restore it, or remove it to begin under a new one: %w", path, err)
	}
	return id.String(), nil
}

// writeID lets the file appear whole, and durably.
func writeID(path, id string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(id + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
