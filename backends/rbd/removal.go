//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// A volume is removed by way of the trash: by its RBD ID, which no other image ever has. The index says so
// before the first step and until the last, so that whoever finds the key ends the removal: Settle, or the
// next Reap. What the volume's own record says stays as it is; so a volume that was not removed after all is
// as it was, and what its owner does with it later is no business of ours.

// removal is what the index says of a volume that is being removed.
type removal struct {
	Name   backends.VolumeName `json:"name"`
	Holder string              `json:"holder"`
	At     time.Time           `json:"at"`
	// Deferment, in seconds, tells our move to the trash from anybody else's: it is how long the trash is
	// asked to keep the image. We remove it before that.
	Deferment int64 `json:"deferment"`
	// Half: it was never whole, and nobody can want it.
	Half bool `json:"half,omitempty"`
}

// Deferments are between one and some nineteen hours; nobody else's is one of them by chance.
const (
	leastDeferment  = 3600
	randomDeferment = 1 << 16
)

// abandoned is after what time a removal of another installation may be ended by us: its host is gone.
const abandoned = time.Hour

func (b *Backend) newRemoval(name backends.VolumeName, half bool) removal {
	return removal{
		Name: name, Holder: b.config.Holder, At: b.config.Now().UTC(), Half: half,
		Deferment: leastDeferment + rand.Int64N(randomDeferment),
	}
}

// is tells whether an image in the trash was put there by this removal.
func (r removal) is(t rbd.TrashInfo) bool {
	return t.DefermentEndTime.Sub(t.DeletionTime) == time.Duration(r.Deferment)*time.Second
}

// removeVolume removes a volume that is certainly ours by its RBD ID; half says that it was never whole. A
// process that dies in it leaves it under its name, as it was, or in the trash, from where Settle or Reap
// remove it. An error leaves it as it was, if the cluster still lets it. backends.ErrInUse.
func (b *Backend) removeVolume(w *work, name backends.VolumeName, rbdID string, half bool) error {
	r := b.newRemoval(name, half)
	if err := writeIndex(w.images, removalKeys+rbdID, r); err != nil {
		return err
	}
	if err := trash(w.volumes, string(name), rbdID, time.Duration(r.Deferment)*time.Second); err != nil {
		return errors.Join(err, b.notRemoved(w, rbdID))
	}
	return b.purgeVolume(w, rbdID, r)
}

// notRemoved forgets a removal, unless the image is in the trash all the same.
func (b *Backend) notRemoved(w *work, rbdID string) error {
	if there, err := inTrash(w.volumes, rbdID); err != nil || there {
		return err
	}
	return b.removalEnded(w, rbdID)
}

func (b *Backend) removalEnded(w *work, rbdID string) error {
	return dropFromIndex(w.images, removalKeys+rbdID)
}

// purgeVolume removes a volume from the trash. One that cannot go, since somebody has it open or has made a snapshot,
// is restored, unless it was never whole: then it stays there, where it harms nobody, and is tried again.
func (b *Backend) purgeVolume(w *work, rbdID string, r removal) error {
	err := b.removeFreed(w, w.volumes, rbdID)
	if !is(err, syscall.EBUSY) && !is(err, syscall.ENOTEMPTY) {
		if err := ignore(err, syscall.ENOENT); err != nil {
			return err
		}
		return b.removalEnded(w, rbdID)
	}
	err = watched(w.volumes, rbdID, err)
	if r.Half && is(err, syscall.EBUSY) {
		return err
	}
	return errors.Join(err, b.restore(w, rbdID, r))
}

// restore gives a volume its name back.
func (b *Backend) restore(w *work, rbdID string, r removal) error {
	if err := rbd.TrashRestore(w.volumes, rbdID, string(r.Name)); err != nil {
		return fmt.Errorf("restore image %s as %s from the trash: %w", rbdID, r.Name, err)
	}
	return b.removalEnded(w, rbdID)
}

// endRemovals ends the removals that a process which died had begun.
func (b *Backend) endRemovals(ctx context.Context) error {
	all, err := do(ctx, b, func(w *work) (map[string]removal, error) { return readIndex[removal](w.images, removalKeys) })
	if err != nil {
		return fmt.Errorf("read removals: %w", err)
	}
	var errs []error
	for rbdID, r := range all {
		if r.Holder != b.config.Holder && b.config.Now().Sub(r.At) < abandoned {
			continue
		}
		errs = append(errs, onVolume("end the removal of", r.Name, b.try(ctx, func(w *work) error { return b.endOne(w, rbdID) })))
	}
	return errors.Join(errs...)
}

// endOne ends one removal, unless it is under way. What somebody has open stays where it is, and is tried
// again.
func (b *Backend) endOne(w *work, rbdID string) error {
	r, there, err := lookUpRemoval(w.images, rbdID)
	if err != nil || !there {
		return err
	}
	leave, err := b.names.alone(w.ctx, string(r.Name))
	if err != nil {
		return err
	}
	defer leave()
	if _, there, err = lookUpRemoval(w.images, rbdID); err != nil || !there {
		return err
	}
	if _, err := b.finishRemoval(w, rbdID, r); !errors.Is(err, backends.ErrInUse) && !errors.Is(err, backends.ErrUnavailable) {
		return err
	}
	return nil
}

// finishRemoval finishes a removal that died. Its turn is held alone. A volume that is still under its name
// was not removed: it is as it was, and the removal is forgotten. One that was never whole goes all the same.
func (b *Backend) finishRemoval(w *work, rbdID string, r removal) (removed bool, err error) {
	t, trashed, err := trashedAs(w.volumes, rbdID)
	if err != nil {
		return false, err
	}
	if trashed && r.is(t) {
		return b.finishTrashed(w, rbdID, r)
	}
	if trashed || !r.Half {
		return false, b.removalEnded(w, rbdID)
	}
	name, err := nameOf(w.volumes, rbdID)
	if is(err, syscall.ENOENT) || err == nil && name != string(r.Name) {
		return false, b.removalEnded(w, rbdID)
	}
	if err != nil {
		return false, err
	}
	if err := b.strangersAway(w, rbdID, b.config.Holder); err != nil {
		return false, errors.Join(err, b.removalEnded(w, rbdID))
	}
	if err := b.removeVolume(w, r.Name, rbdID, true); err != nil {
		return false, notYet(err)
	}
	return true, nil
}

// finishTrashed removes what a removal has put into the trash. Where somebody has it open, it gets its name
// back; a client of ours that died lets it wait.
func (b *Backend) finishTrashed(w *work, rbdID string, r removal) (removed bool, err error) {
	if err := b.strangersAway(w, rbdID, b.config.Holder); errors.Is(err, backends.ErrInUse) {
		return false, errors.Join(err, b.restore(w, rbdID, r))
	} else if err != nil {
		return false, err
	}
	if watching(w.volumes, rbdID) {
		return false, fmt.Errorf("a client of ours has it open, or died less than osd_client_watch_timeout ago: %w", backends.ErrUnavailable)
	}
	if err := b.purgeVolume(w, rbdID, r); err != nil {
		return false, notYet(err)
	}
	return true, nil
}

// notYet says of what is half made and watched by nobody else that it is to be tried again.
func notYet(err error) error {
	if is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: %s", backends.ErrUnavailable, err)
	}
	return err
}

// strangersAway is backends.ErrInUse for an image that is open by a client other than those of a daemon, dead or alive, or
// that has a snapshot.
func (b *Backend) strangersAway(w *work, rbdID, holder string) error {
	var watchers []rbd.ImageWatcher
	err := lookInto(w.volumes, rbdID, func(image *rbd.Image) (err error) {
		if watchers, err = image.ListWatchers(); err != nil {
			return err
		}
		return unsnapped(image)
	})
	if is(err, syscall.EINVAL) {
		return nil // half made: it cannot be opened, by anybody
	}
	if err != nil || len(watchers) == 0 {
		return err
	}
	clients, err := readIndex[client](w.images, clientKeys)
	if err != nil {
		return err
	}
	for _, c := range watchers {
		if clients[strconv.FormatInt(c.Id, 16)].Holder != holder {
			return fmt.Errorf("client.%d at %s has it open: %w", c.Id, c.Addr, backends.ErrInUse)
		}
	}
	if _, err := b.fenceDead(w.session, w.volumes, rbdID, watchers, clients); err != nil { // they are waited for
		return fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
	}
	return nil
}

// watching tells whether anybody has an image open.
func watching(io *rados.IOContext, rbdID string) bool {
	return errors.Is(lookInto(io, rbdID, unwatched), backends.ErrInUse)
}

// trashedAs finds an image in the trash.
func trashedAs(io *rados.IOContext, rbdID string) (rbd.TrashInfo, bool, error) {
	if there, err := inTrash(io, rbdID); err != nil || !there {
		return rbd.TrashInfo{}, false, err
	}
	all, err := rbd.GetTrashList(io)
	for _, t := range all {
		if t.Id == rbdID {
			return t, true, nil
		}
	}
	return rbd.TrashInfo{}, false, err
}

func lookUpRemoval(io *rados.IOContext, rbdID string) (r removal, there bool, err error) {
	all, err := readIndex[removal](io, removalKeys+rbdID)
	r, there = all[""]
	return r, there, err
}

// removalsOf are the RBD IDs of what is being removed under a volume's name.
func removalsOf(io *rados.IOContext, name backends.VolumeName) ([]string, error) {
	all, err := readIndex[removal](io, removalKeys)
	var found []string
	for rbdID, r := range all {
		if r.Name == name {
			found = append(found, rbdID)
		}
	}
	return found, err
}
