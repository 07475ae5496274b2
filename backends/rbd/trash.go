//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// trash moves the image of that name and RBD ID to the pool's trash, from where it is removed by its ID.
// librbd moves and removes by name, and a name may change hands at any moment: if another image was
// moved, it is put back. backends.ErrNotExist: another image has the name.
func trash(io *rados.IOContext, name, rbdID string) error {
	if now, err := anyID(io, name); err != nil || now != rbdID {
		return errors.Join(explain(ignore(err, syscall.ENOENT)), fmt.Errorf("image %s is no longer %s: %w", name, rbdID, backends.ErrNotExist))
	}
	if err := rbd.GetImage(io, name).Trash(0); err != nil {
		return fmt.Errorf("move image %s to the trash: %w", name, err)
	}
	there, err := inTrash(io, rbdID)
	if err != nil || there {
		return err
	}
	return errors.Join(putBack(io, name), fmt.Errorf("image %s is no longer %s: %w", name, rbdID, backends.ErrNotExist))
}

// putBack restores the image that was just moved to the trash under a name.
func putBack(io *rados.IOContext, name string) error {
	all, err := rbd.GetTrashList(io)
	if err != nil {
		return err
	}
	var last rbd.TrashInfo
	for _, t := range all {
		if t.Name == name && !t.DeletionTime.Before(last.DeletionTime) {
			last = t
		}
	}
	if last.Id == "" {
		return nil
	}
	return rbd.TrashRestore(io, last.Id, name)
}

// sweepTrash ends the removals of volumes and image-volumes that a process which died had begun, and
// that nothing else names. What others put into the trash stays there.
func (b *Backend) sweepTrash(ctx context.Context) error {
	type pool struct {
		io   func(*session) *rados.IOContext
		list []rbd.TrashInfo
	}
	pools := []pool{{io: func(s *session) *rados.IOContext { return s.volumes }}}
	if b.config.ImageVolumePool != b.config.Pool {
		pools = append(pools, pool{io: func(s *session) *rados.IOContext { return s.images }})
	}
	var errs []error
	for _, p := range pools {
		list, err := do(ctx, b, func(w *work) ([]rbd.TrashInfo, error) { return rbd.GetTrashList(p.io(w.session)) })
		errs = append(errs, err)
		for _, t := range list {
			if b.isOthers(t.Id) {
				continue
			}
			errs = append(errs, b.try(ctx, func(w *work) error { return b.sweepOne(w, p.io(w.session), t) }))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep the trash: %w", err)
	}
	return nil
}

func (b *Backend) sweepOne(w *work, io *rados.IOContext, t rbd.TrashInfo) error {
	if id, ok := strings.CutPrefix(t.Name, prefix); ok {
		return b.sweepImageVolume(w, t, backends.ImageVolumeID(id))
	}
	r, err := readVolumeRecord(io, t.Id)
	if errors.Is(err, backends.ErrNotOurs) || err == nil && r.State != removing {
		b.setOthers(t.Id)
		return nil
	}
	if err != nil {
		return err
	}
	w.mayTake(removal * b.config.Timeout)
	return ignore(rbd.TrashRemove(io, t.Id, true), syscall.ENOENT, syscall.EBUSY, syscall.ENOTEMPTY)
}

// sweepImageVolume puts an image-volume that the index has lost back into it; the next Reap ends it.
func (b *Backend) sweepImageVolume(w *work, t rbd.TrashInfo, id backends.ImageVolumeID) error {
	r, err := readImageRecord(w.images, t.Id)
	if errors.Is(err, backends.ErrNotOurs) || err == nil && (r.ID != id || !r.Retired) {
		b.setOthers(t.Id)
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := lookUp(w.images, id); !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	return writeIndex(w.images, imageKeys+string(id), indexed{RBDID: t.Id, At: b.config.Now().UTC()})
}

func (b *Backend) isOthers(rbdID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.others[rbdID]
}

func (b *Backend) setOthers(rbdID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.others[rbdID] = true
}
