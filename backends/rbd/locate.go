//go:build ceph

package rbd

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// located is an image-volume's image as it is in the cluster, whatever became of it there.
type located struct {
	indexed
	name    string // as it is called now; empty in the trash
	trashed bool
	header  bool // it can be opened; false for one half made or half removed
	unnoted bool // the index does not have its RBD ID yet: its Stage died, or is just making it
	record  imageRecord
}

// find looks for an image-volume; backends.ErrNotExist.
func (b *Backend) find(s *session, id backends.ImageVolumeID) (located, error) {
	e, err := lookUp(s.images, id)
	if err != nil {
		return located{}, err
	}
	return locate(s.images, e)
}

// locate finds the image that the index names, also if it was renamed, put into the trash, or left half
// made. backends.ErrNotExist: there is none, or another one has its name.
func locate(io *rados.IOContext, e indexed) (located, error) {
	l := located{indexed: e}
	var err error
	if l.RBDID == "" {
		l.unnoted = true
		if l.RBDID, err = anyID(io, e.name()); err != nil {
			return l, fmt.Errorf("image %s: %w", e.name(), explain(err))
		}
	}
	if err := l.where(io); err != nil {
		return l, err
	}
	if l.name == "" && !l.trashed {
		return l, fmt.Errorf("image %s: %w", l.RBDID, backends.ErrNotExist)
	}
	return l, l.read(io)
}

// where finds the image under a name or in the trash. One that is just being restored is found by
// looking twice.
func (l *located) where(io *rados.IOContext) error {
	for range 2 {
		var err error
		if l.name, err = nameOf(io, l.RBDID); ignore(err, syscall.ENOENT) != nil || l.name != "" {
			return ignore(err, syscall.ENOENT)
		}
		if l.trashed, err = inTrash(io, l.RBDID); err != nil || l.trashed {
			return err
		}
	}
	return nil
}

// read reads the record. One that is missing is right only where a Stage died before it wrote it, or
// where the end of an adopted image-volume died after it removed it.
func (l *located) read(io *rados.IOContext) error {
	var err error
	l.record, err = readImageRecord(io, l.RBDID)
	switch {
	case err == nil && l.record.ID != l.ID:
		return fmt.Errorf("image %s is image-volume %s: %w", l.RBDID, l.record.ID, backends.ErrNotExist)
	case err == nil:
		l.header = true
		return nil
	case !errors.Is(err, backends.ErrNotOurs):
		return err
	case l.Adopted == "" && l.name != "" && l.name != imageName(l.ID):
		return fmt.Errorf("image %s is %s: %w", l.RBDID, l.name, backends.ErrNotExist)
	}
	l.record.RBDID, l.record.ID = l.RBDID, l.ID
	_, err = io.Stat(headerObject + l.RBDID)
	l.header = err == nil
	return ignore(err, syscall.ENOENT)
}

// anyID is the RBD ID of what has a name, be it half made. -ENOENT.
func anyID(io *rados.IOContext, name string) (string, error) {
	id, err := idOf(io, name)
	if is(err, syscall.ENOENT) {
		return listedID(io, name)
	}
	return id, err
}

// inTrash tells whether the image with that RBD ID is in the pool's trash.
func inTrash(io *rados.IOContext, rbdID string) (bool, error) {
	op := rados.CreateReadOp()
	defer op.Release()
	op.Exec("rbd", "trash_get", encodeString(rbdID))
	err := op.Operate(io, trashObject, rados.OperationNoFlag)
	return err == nil, ignore(err, syscall.ENOENT)
}

// describe looks into the image.
func (l *located) describe(io *rados.IOContext) (backends.ImageVolume, error) {
	v := backends.ImageVolume{ID: l.ID, State: backends.Staged, HeldBytes: l.record.HeldBytes, Description: l.record.Description}
	if l.record.Retired || l.trashed {
		v.State = backends.Detached
	}
	if !l.header {
		return v, nil
	}
	image, err := rbd.OpenImageByIdReadOnly(io, l.RBDID, rbd.NoSnapshot)
	if is(err, syscall.ENOENT) {
		return v, nil // half made
	}
	if err != nil {
		return v, err
	}
	defer func() { _ = image.Close() }() // nothing was written
	size, err := image.GetSize()
	if err != nil {
		return v, err
	}
	v.VirtualBytes = int64(size)
	children, err := image.ListChildrenAttributes()
	if err != nil {
		return v, err
	}
	v.Clones = len(children)
	_, err = image.GetSnapID(snapshotName)
	if err == nil && v.State == backends.Staged {
		v.State = backends.Committed
	}
	return v, ignore(err, syscall.ENOENT)
}
