//go:build ceph

package rbd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// parent is a committed image-volume, or another image with a snapshot, as clones need it.
type parent struct {
	io       *rados.IOContext // of its pool; nil: the image-volumes'
	name     string
	snapshot string
	bytes    int64
}

// Clone implements backends.Backend: rbd clone, grown, and then stamped. What bears a stamp is whole;
// what has none is not, and Settle knows it by the client that created it.
func (b *Backend) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	spec = spec.Rounded()
	err := checkSpec(spec)
	var v backends.Volume
	if err == nil {
		v, err = do(ctx, b, func(w *work) (backends.Volume, error) { return b.clone(w, id, spec) })
	}
	if err != nil {
		return backends.Volume{}, fmt.Errorf("clone image-volume %s to volume %q: %w", id, spec.Name, err)
	}
	return v, nil
}

func (b *Backend) clone(w *work, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	leaveName, err := b.names.alone(w.ctx, string(spec.Name))
	if err != nil {
		return backends.Volume{}, err
	}
	defer leaveName()
	leaveImage, err := b.images.share(w.ctx, string(id))
	if err != nil {
		return backends.Volume{}, err
	}
	defer leaveImage()
	p, err := b.parentOf(w.session, id)
	if err != nil {
		return backends.Volume{}, err
	}
	return b.cloneOf(w, p, spec, func() error { return b.cloneImageVolume(w, id, p, spec) })
}

// cloneOf makes a volume of a parent: clone makes the image. The turn of the volume's name is held alone.
func (b *Backend) cloneOf(w *work, p parent, spec backends.VolumeSpec, clone func() error) (backends.Volume, error) {
	if spec.SizeBytes < p.bytes {
		return backends.Volume{}, fmt.Errorf("%d bytes are asked for, the image has %d: %w", spec.SizeBytes, p.bytes, backends.ErrTooSmall)
	}
	if err := w.ctx.Err(); err != nil {
		return backends.Volume{}, err
	}
	if err := clone(); err != nil {
		return backends.Volume{}, err
	}
	rbdID, err := b.finishClone(w, p, spec)
	if err != nil {
		return backends.Volume{}, errors.Join(err, b.undo(w, spec.Name, rbdID))
	}
	w.ifAbandoned(func(context.Context) { _ = b.undo(w, spec.Name, rbdID) })
	return backends.Volume{
		Name: spec.Name, ID: backends.VolumeID(rbdID), SizeBytes: spec.SizeBytes, Token: spec.Token, Origin: spec.Origin, Complete: true,
		DependsOn: parentOf(spec.Origin),
	}, nil
}

// parentOf is what a clone depends on until it is flattened.
func parentOf(o backends.Origin) string { return cmp.Or(o.DirectFrom, string(o.ImageVolume)) }

// cloneImageVolume clones an image-volume. One that is not where it was known to be may have been renamed,
// and is looked for once.
func (b *Backend) cloneImageVolume(w *work, id backends.ImageVolumeID, p parent, spec backends.VolumeSpec) error {
	err := b.cloneImage(w, p, spec)
	if err != nil {
		b.forget(id)
	}
	if !is(err, syscall.ENOENT) {
		return err
	}
	now, notThere := b.parentOf(w.session, id)
	if notThere != nil {
		return notThere
	}
	if now.name == p.name {
		return err
	}
	return b.cloneImage(w, now, spec)
}

// cloneImage is the clone itself. A clone that fails is undone by librbd; where it could not do that, it
// has no answer from the cluster either, and the volume is settled later.
func (b *Backend) cloneImage(w *work, p parent, spec backends.VolumeSpec) error {
	from := w.images
	if p.io != nil {
		from = p.io
	}
	err := withOptions(b.features, func(o *rbd.ImageOptions) error {
		if err := o.SetUint64(rbd.ImageOptionCloneFormat, 2); err != nil {
			return err
		}
		return rbd.CloneImage(from, p.name, p.snapshot, w.volumes, string(spec.Name), o)
	})
	switch {
	case err == nil, is(err, syscall.EEXIST), is(err, syscall.ENOENT):
		return err
	case errors.Is(explain(err), backends.ErrUnavailable):
		return err
	}
	if _, gone := idOf(w.volumes, string(spec.Name)); is(gone, syscall.ENOENT) {
		return err
	}
	return fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
}

// finishClone grows the clone where that is needed, and stamps it.
func (b *Backend) finishClone(w *work, p parent, spec backends.VolumeSpec) (rbdID string, err error) {
	if rbdID, err = idOf(w.volumes, string(spec.Name)); err != nil {
		return "", err
	}
	if err := w.ctx.Err(); err != nil {
		return rbdID, err
	}
	r := newVolumeRecord(rbdID, whole, spec)
	if spec.SizeBytes > p.bytes {
		return rbdID, growAndStamp(w, rbdID, spec.SizeBytes, r)
	}
	return rbdID, writeRecord(w.volumes, rbdID, volumeKey, r)
}

func newVolumeRecord(rbdID string, state volumeState, spec backends.VolumeSpec) volumeRecord {
	return volumeRecord{RBDID: rbdID, State: state, SizeBytes: spec.SizeBytes, Token: spec.Token, Origin: spec.Origin}
}

func resize(w *work, rbdID string, size int64) error {
	image, err := rbd.OpenImageById(w.volumes, rbdID, rbd.NoSnapshot)
	if err != nil {
		return err
	}
	return errors.Join(image.Resize(uint64(size)), image.Close())
}

// undo removes a volume that this process made and nobody has seen. If that fails it is settled later:
// backends.ErrUnavailable.
func (b *Backend) undo(w *work, name backends.VolumeName, rbdID string) error {
	if rbdID == "" {
		var err error
		if rbdID, err = anyID(w.volumes, string(name)); err != nil {
			return unsettled(ignore(err, syscall.ENOENT))
		}
	}
	return unsettled(b.removeVolume(w, name, rbdID, true))
}

func unsettled(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: what was made is not removed yet: %w", backends.ErrUnavailable, err)
}

// parentOf is a committed image-volume, from memory where it is known. backends.ErrNotExist.
func (b *Backend) parentOf(s *session, id backends.ImageVolumeID) (parent, error) {
	b.mu.Lock()
	p, ok := b.known[id]
	b.mu.Unlock()
	if ok {
		return p, nil
	}
	l, err := b.find(s, id)
	if err != nil {
		return parent{}, err
	}
	v, err := l.describe(s.images)
	if err != nil {
		return parent{}, err
	}
	if v.State != backends.Committed {
		return parent{}, fmt.Errorf("it is %s: %w", v.State, backends.ErrNotExist)
	}
	p = parent{name: l.name, snapshot: snapshotName, bytes: v.VirtualBytes}
	b.remember(id, p)
	return p, nil
}

func (b *Backend) remember(id backends.ImageVolumeID, p parent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known[id] = p
}

func (b *Backend) forget(id backends.ImageVolumeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, id)
}
