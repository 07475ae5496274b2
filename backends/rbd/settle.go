//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// Settle implements backends.Volumes.
//
// A record with the attempt's token decides by itself: one that says whole is only written to a
// volume that is. An image without a record of its own was left by a process that died inside
// librbd, or is somebody else's. It is removed only if all of this holds: a connection of this
// installation created it (its RBD ID begins with a client number that the index knows to be ours),
// nothing was ever written to it, and it is no child of an image that is not ours. backends.ErrInUse: somebody
// has it open, or the process died so lately that the OSDs have not missed it yet; repeat it.
func (b *Backend) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
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
	if spec.Token == "" || r.Token != spec.Token {
		return backends.Absent, nil
	}
	v, err := b.describeVolume(w.session, spec.Name, r)
	if err != nil {
		return 0, err
	}
	if v.Complete {
		return backends.Whole, nil
	}
	return backends.Removed, b.removeVolume(w, spec.Name, rbdID)
}

// settleUnstamped settles an image without a record of its own.
func (b *Backend) settleUnstamped(w *work, spec backends.VolumeSpec, rbdID string) (backends.Settled, error) {
	own, err := b.madeHere(w.session, rbdID)
	if err != nil || !own {
		return backends.Absent, err
	}
	untouched, err := b.untouched(w.session, rbdID, spec)
	if err != nil || !untouched {
		return backends.Absent, err
	}
	return backends.Removed, b.removeVolume(w, spec.Name, rbdID)
}

// settleTrash ends a removal that a process which died had begun: the image is in the trash, under the
// volume's name.
func (b *Backend) settleTrash(w *work, spec backends.VolumeSpec) (removed bool, err error) {
	all, err := rbd.GetTrashList(w.volumes)
	if err != nil {
		return false, err
	}
	for _, t := range all {
		if t.Name != string(spec.Name) {
			continue
		}
		r, err := readVolumeRecord(w.volumes, t.Id)
		if err != nil && !errors.Is(err, backends.ErrNotOurs) {
			return removed, err
		}
		if err == nil && (r.State != removing || r.Token != "" && r.Token != spec.Token) {
			continue
		}
		if err != nil { // no header any more
			if own, err := b.madeHere(w.session, t.Id); err != nil || !own {
				return removed, err
			}
			if _, err := w.volumes.Stat(headerObject + t.Id); !is(err, syscall.ENOENT) {
				continue
			}
		}
		w.mayTake(removal * b.config.Timeout)
		if err := ignore(rbd.TrashRemove(w.volumes, t.Id, true), syscall.ENOENT); err != nil {
			return removed, watched(w.volumes, t.Id, err)
		}
		removed = true
	}
	return removed, nil
}

// madeHere tells whether a connection of this installation created the image with that RBD ID.
func (b *Backend) madeHere(s *session, rbdID string) (bool, error) {
	clients, err := readIndex[client](s.images, clientKeys)
	if err != nil {
		return false, err
	}
	for id, c := range clients {
		if c.Holder == b.config.Holder && madeBy(rbdID, id) {
			return true, nil
		}
	}
	return false, nil
}

// madeBy tells whether an image of that RBD ID was created by the client of that number. librbd makes an
// ID of the client's number and up to 8 random digits, all hexadecimal, and keeps the last 14 of it.
func madeBy(rbdID, client string) bool {
	const most, random = 14, 8
	for digits := 1; digits <= random; digits++ {
		beginning := len(rbdID) - digits
		if beginning <= 0 {
			return false
		}
		full := len(client) + digits
		if full <= most && rbdID[:beginning] == client {
			return true
		}
		if full > most && len(rbdID) == most && strings.HasSuffix(client, rbdID[:beginning]) {
			return true
		}
	}
	return false
}

// untouched tells whether an image is as a clone that died left it: nothing was written to it, and it
// has no parent, or one of our image-volumes, or the image that it was to be cloned from directly.
func (b *Backend) untouched(s *session, rbdID string, spec backends.VolumeSpec) (bool, error) {
	image, err := rbd.OpenImageByIdReadOnly(s.volumes, rbdID, rbd.NoSnapshot)
	if is(err, syscall.ENOENT) || is(err, syscall.EINVAL) {
		return true, nil // half made: it cannot be opened, so nobody ever wrote to it
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = image.Close() }() // nothing was written
	ours, err := b.ourParent(s, image, spec)
	if err != nil || !ours {
		return false, err
	}
	return empty(image)
}

func (b *Backend) ourParent(s *session, image *rbd.Image, spec backends.VolumeSpec) (bool, error) {
	p, err := image.GetParent()
	if is(err, syscall.ENOENT) {
		return true, nil
	}
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
		Callback: func(_, _ uint64, exists int, _ interface{}) int {
			if exists == 0 {
				return 0
			}
			found = true
			return -int(syscall.ECANCELED)
		},
	})
	if found {
		return false, nil
	}
	return err == nil, err
}
