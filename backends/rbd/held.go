//go:build ceph

package rbd

import (
	"syscall"

	"github.com/ceph/go-ceph/rbd"
)

// noteHeld notes in the record of an image-volume that cannot be removed yet how much it holds, where nobody has: only Commit does, and
// what a fill left that came to nothing takes its space until it is gone. Where it cannot be counted it is 0, as before, and a
// later attempt to remove it counts.
func (b *Backend) noteHeld(w *work, l *located) {
	if !l.header || l.record.HeldBytes > 0 {
		return
	}
	w.mayTake(removalTimeouts * b.config.Timeout)
	held, err := heldOf(w, l.RBDID)
	if err == nil && held > 0 {
		l.record.HeldBytes = held
		err = writeRecord(w.images, l.RBDID, imageVolumeKey, l.record)
	}
	if err = ignore(err, syscall.ENOENT); err != nil && b.config.Log != nil {
		b.config.Log.WithField("backend", b.config.Name).WithError(err).Warnf("what image %s holds until it is removed is not counted", l.RBDID)
	}
}

// heldOf adds up the data of an image itself, in bytes.
func heldOf(w *work, rbdID string) (held int64, err error) {
	image, err := rbd.OpenImageByIdReadOnly(w.images, rbdID, rbd.NoSnapshot)
	if err != nil {
		return 0, err
	}
	defer func() { _ = image.Close() }() // nothing was written
	size, err := image.GetSize()
	if err != nil {
		return 0, err
	}
	err = image.DiffIterate(rbd.DiffIterateConfig{
		SnapName: rbd.NoSnapshot, Length: size, IncludeParent: rbd.ExcludeParent,
		Callback: func(_, n uint64, exists int, _ any) int {
			if w.ctx.Err() != nil {
				return -int(syscall.ECANCELED)
			}
			if exists != 0 {
				held += int64(n)
			}
			return 0
		},
	})
	return held, err
}
