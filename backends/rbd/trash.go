//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// haveTrash makes the object that lists a pool's trash, if it is not there: a full cluster takes no new
// object, and then nothing could be removed.
func haveTrash(io *rados.IOContext) error {
	if err := io.Create(trashObject, rados.CreateIdempotent); err != nil {
		return fmt.Errorf("make object %s: %w", trashObject, err)
	}
	return nil
}

// trash moves the image of that name and RBD ID to the pool's trash, from where it is removed by its ID.
// librbd moves and removes by name, and a name may change hands at any moment: if another image was
// moved, it is put back. The trash is asked to keep it for deferment. backends.ErrNotExist: another image has
// the name.
func trash(io *rados.IOContext, name, rbdID string, deferment time.Duration) error {
	if now, err := anyID(io, name); err != nil || now != rbdID {
		return errors.Join(explain(ignore(err, syscall.ENOENT)), fmt.Errorf("image %s is no longer %s: %w", name, rbdID, backends.ErrNotExist))
	}
	if err := rbd.GetImage(io, name).Trash(deferment); err != nil {
		return fmt.Errorf("move image %s to the trash: %w", name, err)
	}
	there, err := inTrash(io, rbdID)
	if err != nil || there {
		return err
	}
	return errors.Join(putBack(io, name), fmt.Errorf("image %s is no longer %s: %w", name, rbdID, backends.ErrNotExist))
}

// removeTrashed removes an image from the trash by its RBD ID. librbd refuses that with EUCLEAN as long as the trash says that the
// image is just being moved there: it says so for ever of one whose mover died before his last step, when the image had lost its
// name. A mover that lives meets an error in that step.
func removeTrashed(io *rados.IOContext, rbdID string, force bool) error {
	err := rbd.TrashRemove(io, rbdID, force)
	if !is(err, syscall.EUCLEAN) {
		return err
	}
	if err := setTrashState(io, rbdID, trashNormal, trashMoving); err != nil {
		return fmt.Errorf("end the move of image %s to the trash: %w", rbdID, err)
	}
	return rbd.TrashRemove(io, rbdID, force)
}

// removeFreed removes an image from the trash by its RBD ID, also where a dead client of this installation has it open.
// EBUSY: somebody has it open. ENOTEMPTY: it has a snapshot that clones need.
func (b *Backend) removeFreed(w *work, io *rados.IOContext, rbdID string) error {
	w.mayTake(removalTimeouts * b.config.Timeout)
	err := removeTrashed(io, rbdID, true)
	if is(err, syscall.EBUSY) && b.withoutDead(w, io, rbdID) == nil {
		return removeTrashed(io, rbdID, true)
	}
	return err
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

// sweepTrash ends the removals of image-volumes that a process which died had begun, and that nothing else
// names. What others put into the trash stays there, and so do volumes: their removals are in the index.
func (b *Backend) sweepTrash(ctx context.Context) error {
	var errs []error
	for _, p := range b.pools() {
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
	if strings.HasPrefix(t.Name, prefix) {
		return b.sweepImageVolume(w, t)
	}
	if io != w.images {
		b.setOthers(t.Id)
		return nil
	}
	return b.sweepImageVolume(w, t)
}

// sweepImageVolume puts an image-volume that the index has lost back into it; the next Reap ends it. An
// adopted one need not be retired: its owner's service has moved it to the trash.
func (b *Backend) sweepImageVolume(w *work, t rbd.TrashInfo) error {
	r, err := readImageRecord(w.images, t.Id)
	if errors.Is(err, backends.ErrNotOurs) || err == nil && !r.Retired && r.Adopted == "" {
		b.setOthers(t.Id)
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := lookUp(w.images, r.ID); !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	return writeIndex(w.images, imageKeys+string(r.ID), indexed{RBDID: t.Id, At: b.config.Now().UTC(), Adopted: r.Adopted})
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
