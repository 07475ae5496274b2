//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// Settle implements backends.Volumes.
//
// A record with the attempt's token decides by itself: one that says whole is only written to a
// volume that is. An image without a record of its own was left by a process that died inside
// librbd, or is somebody else's. It is removed only if all of this holds: a connection of this
// installation created it (its RBD ID begins with a client number that the index knows to be ours, and cannot
// begin with another one, or it is a clone of our image-volume), nothing was ever written to it, nobody has it
// open, and it is no child of an image that is not ours.
//
// backends.ErrInUse: somebody has it, or may have it. backends.ErrUnavailable: the process died so lately that
// the OSDs have not missed it yet; repeat it.
func (b *Backend) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	spec = spec.Rounded()
	err := checkName(spec.Name)
	settled := backends.Absent
	if err == nil {
		settled, err = do(ctx, b, func(w *work) (backends.Settled, error) { return b.settle(w, spec) })
	}
	if errors.Is(err, backends.ErrBadName) {
		return backends.Absent, nil
	}
	return settled, onVolume("settle", spec.Name, err)
}

func (b *Backend) settle(w *work, spec backends.VolumeSpec) (backends.Settled, error) {
	leave, err := b.names.alone(w.ctx, string(spec.Name)) // also after a call that was given up
	if err != nil {
		return 0, fmt.Errorf("%w: an earlier call is still at it: %w", backends.ErrUnavailable, err)
	}
	defer leave()
	inTrash, err := b.settleTrash(w, spec)
	if err != nil {
		return 0, err
	}
	named, err := b.settleNamed(w, spec)
	if named == backends.Absent && inTrash {
		named = backends.Removed
	}
	return named, err
}

// settleNamed settles what has the name.
func (b *Backend) settleNamed(w *work, spec backends.VolumeSpec) (backends.Settled, error) {
	rbdID, err := anyID(w.volumes, string(spec.Name))
	if is(err, syscall.ENOENT) {
		return backends.Absent, nil
	}
	if err != nil {
		return 0, err
	}
	r, err := readVolumeRecord(w.volumes, rbdID)
	if errors.Is(err, backends.ErrNotOurs) {
		return b.settleUnstamped(w, spec, rbdID)
	}
	if err != nil {
		return 0, err
	}
	if spec.Token == "" || r.Token != spec.Token || r.State == removing {
		return backends.Absent, nil
	}
	if r.State == whole { // whatever its owner has made of it
		return backends.Whole, nil
	}
	return b.removeHalf(w, spec.Name, rbdID)
}

// settleUnstamped settles an image without a record of its own.
func (b *Backend) settleUnstamped(w *work, spec backends.VolumeSpec, rbdID string) (backends.Settled, error) {
	by, err := b.maker(w.session, rbdID)
	if err != nil || by == another {
		return backends.Absent, err
	}
	l, err := b.lookAt(w.session, rbdID, spec)
	if err != nil || l == touched || l == foreign {
		return backends.Absent, err
	}
	if by == perhaps && l != cloned {
		if err := b.perhapsOurs(rbdID, l != unopenable); err != nil {
			return 0, err
		}
	}
	return b.removeHalf(w, spec.Name, rbdID)
}

// removeHalf removes what a clone or copy that died left. backends.ErrInUse: somebody has it. A client of ours
// that died is waited for: backends.ErrUnavailable.
func (b *Backend) removeHalf(w *work, name backends.VolumeName, rbdID string) (backends.Settled, error) {
	if err := b.strangersAway(w, rbdID, b.config.Holder); err != nil {
		return 0, err
	}
	if err := b.removeVolume(w, name, rbdID, true); err != nil {
		return 0, notYet(err)
	}
	return backends.Removed, nil
}

// settleTrash ends a removal that a process which died had begun under the volume's name.
func (b *Backend) settleTrash(w *work, spec backends.VolumeSpec) (removed bool, err error) {
	ids, err := removalsOf(w.images, spec.Name)
	if err != nil {
		return false, err
	}
	for _, rbdID := range ids {
		r, there, err := lookUpRemoval(w.images, rbdID)
		if err != nil {
			return removed, err
		}
		if !there || r.Holder != b.config.Holder {
			continue
		}
		gone, err := b.finishRemoval(w, rbdID, r)
		if removed = removed || gone; err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// looks is what an image without a record looks like.
type looks int

const (
	touched    looks = iota + 1 // written to, or there is a snapshot of it
	foreign                     // nothing was written to it, and its parent is not ours
	unopenable                  // half made
	blank                       // it is empty, and has no parent
	cloned                      // nothing was written to it, and its parent is the one that it was to have
)

// lookAt tells whether an image is as a clone that died left it.
func (b *Backend) lookAt(s *session, rbdID string, spec backends.VolumeSpec) (looks, error) {
	image, err := rbd.OpenImageByIdReadOnly(s.volumes, rbdID, rbd.NoSnapshot)
	if is(err, syscall.ENOENT) || is(err, syscall.EINVAL) {
		return unopenable, nil // so nobody ever wrote to it
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = image.Close() }() // nothing was written
	nothing, err := empty(image)
	if err != nil {
		return 0, err
	}
	if !nothing {
		return touched, nil
	}
	if _, err := image.GetParent(); is(err, syscall.ENOENT) {
		return blank, nil
	}
	ours, err := b.ourParent(s, image, spec)
	if err != nil {
		return 0, err
	}
	if !ours {
		return foreign, nil
	}
	return cloned, nil
}

// ourParent tells whether an image's parent is one of our image-volumes, or the image that it was to be cloned
// from directly.
func (b *Backend) ourParent(s *session, image *rbd.Image, spec backends.VolumeSpec) (bool, error) {
	p, err := image.GetParent()
	if err != nil {
		return false, err
	}
	if spec.Origin.DirectFrom != "" {
		return b.fromDirect(p, spec), nil
	}
	io, done, err := b.parentPool(s, p.Image)
	if err != nil {
		return false, err
	}
	defer done()
	_, err = readImageRecord(io, p.Image.ImageID)
	if errors.Is(err, backends.ErrNotOurs) {
		return false, nil
	}
	return err == nil, err
}

// empty tells whether an image holds nothing itself, beside what it has from its parent.
func empty(image *rbd.Image) (bool, error) {
	size, err := image.GetSize()
	if err != nil {
		return false, err
	}
	snapshots, err := image.GetSnapshotNames()
	if err != nil || len(snapshots) > 0 {
		return false, err
	}
	found := false
	err = image.DiffIterate(rbd.DiffIterateConfig{
		SnapName: rbd.NoSnapshot, Length: size,
		IncludeParent: rbd.ExcludeParent, WholeObject: rbd.EnableWholeObject,
		Callback: func(uint64, uint64, int, interface{}) int { // also of what was zeroed
			found = true
			return -int(syscall.ECANCELED)
		},
	})
	if found {
		return false, nil
	}
	return err == nil, err
}
