//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"syscall"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// StatVolume implements backends.Volumes. A volume that is still being written is not there yet.
func (b *Backend) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	err := checkName(name)
	var v backends.Volume
	if err == nil {
		v, err = do(ctx, b, func(w *work) (backends.Volume, error) { return b.stat(w, name) })
	}
	return v, onVolume("stat", name, err)
}

func (b *Backend) stat(w *work, name backends.VolumeName) (backends.Volume, error) {
	rbdID, err := idOf(w.volumes, string(name))
	if err != nil {
		return backends.Volume{}, explain(err)
	}
	r, err := readVolumeRecord(w.volumes, rbdID)
	if err != nil {
		return backends.Volume{}, err
	}
	if r.State == writing {
		return backends.Volume{}, fmt.Errorf("it is being written: %w", backends.ErrNotExist)
	}
	return b.describeVolume(w.session, name, r)
}

// describeVolume looks into a volume's image.
func (b *Backend) describeVolume(s *session, name backends.VolumeName, r volumeRecord) (backends.Volume, error) {
	v := backends.Volume{Name: name, ID: backends.VolumeID(r.RBDID), SizeBytes: r.SizeBytes, Token: r.Token, Origin: r.Origin}
	image, err := rbd.OpenImageByIdReadOnly(s.volumes, r.RBDID, rbd.NoSnapshot)
	if is(err, syscall.ENOENT) {
		return v, nil // its parent is gone
	}
	if err != nil {
		return v, err
	}
	defer func() { _ = image.Close() }() // nothing was written
	size, err := image.GetSize()
	if err != nil {
		return v, err
	}
	v.SizeBytes = int64(size)
	if _, err := image.GetParent(); err == nil {
		v.DependsOn = parentOf(r.Origin)
	}
	registered, err := b.registered(s, image, r.RBDID)
	v.Complete = registered && r.State == whole && v.SizeBytes >= r.SizeBytes
	return v, err
}

// registered tells whether the image's parent knows it as a child, or has none. An image that only says
// itself that it has a parent is destroyed when that parent goes.
func (b *Backend) registered(s *session, image *rbd.Image, rbdID string) (bool, error) {
	p, err := image.GetParent()
	if is(err, syscall.ENOENT) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	io, done, err := b.parentPool(s, p.Image)
	if err != nil {
		return false, err
	}
	defer done()
	of, err := rbd.OpenImageByIdReadOnly(io, p.Image.ImageID, rbd.NoSnapshot)
	if is(err, syscall.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = of.Close() }() // nothing was written
	children, err := of.ListChildrenAttributes()
	return slices.ContainsFunc(children, func(c rbd.ImageSpec) bool { return c.ImageID == rbdID }), err
}

// parentPool opens the pool that a parent lies in.
func (b *Backend) parentPool(s *session, p rbd.ImageSpec) (*rados.IOContext, func(), error) {
	if p.PoolName == b.config.ImageVolumePool && p.PoolNamespace == b.config.Namespace {
		return s.images, func() {}, nil
	}
	io, err := s.conn.OpenIOContext(p.PoolName)
	if err != nil {
		return nil, nil, err
	}
	io.SetNamespace(p.PoolNamespace)
	return io, io.Destroy, nil
}

// ListVolumes implements backends.Volumes. It costs a look at each image of the pool.
func (b *Backend) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	return func(yield func(backends.Volume, error) bool) {
		names, err := do(ctx, b, func(w *work) ([]string, error) { return rbd.GetImageNames(w.volumes) })
		if err != nil {
			yield(backends.Volume{}, fmt.Errorf("list volumes: %w", err))
			return
		}
		names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, prefix) })
		stat := func(name string) (backends.Volume, error) {
			v, err := b.StatVolume(ctx, backends.VolumeName(name))
			v.Name = backends.VolumeName(name)
			return v, err
		}
		for some := range slices.Chunk(names, atOnce) {
			for _, r := range together(some, stat) {
				if errors.Is(r.err, backends.ErrNotOurs) || errors.Is(r.err, backends.ErrNotExist) || errors.Is(r.err, backends.ErrBadName) {
					continue
				}
				if !yield(r.value, r.err) {
					return
				}
			}
		}
	}
}

// DeleteVolume implements backends.Volumes. backends.ErrInUse: it has snapshots, or somebody has it open.
func (b *Backend) DeleteVolume(ctx context.Context, ref backends.VolumeRef) error {
	err := checkName(ref.Name)
	if err == nil {
		err = b.try(ctx, func(w *work) error { return b.delete(w, ref) })
	}
	return onVolume("delete", ref.Name, err)
}

func (b *Backend) delete(w *work, ref backends.VolumeRef) error {
	leave, err := b.names.alone(w.ctx, string(ref.Name))
	if err != nil {
		return err
	}
	defer leave()
	rbdID, err := idOf(w.volumes, string(ref.Name))
	if err != nil {
		return explain(err)
	}
	if ref.ID != "" && string(ref.ID) != rbdID {
		return fmt.Errorf("another volume has its name: %w", backends.ErrNotExist)
	}
	r, err := readVolumeRecord(w.volumes, rbdID)
	if err != nil {
		return err
	}
	if r.State == writing {
		return fmt.Errorf("it is being written: %w", backends.ErrNotExist)
	}
	look := unused
	if ref.ID != "" {
		look = asMade
	}
	err = look(w.volumes, rbdID)
	if errors.Is(err, backends.ErrInUse) && b.withoutDead(w, w.volumes, rbdID) == nil {
		err = look(w.volumes, rbdID)
	}
	if err != nil {
		return err
	}
	if ref.ID == "" {
		keeps, delay, err := toTrash(w)
		if err != nil {
			return err
		}
		if keeps {
			return trash(w.volumes, string(ref.Name), rbdID, delay)
		}
	}
	return b.removeVolume(w, ref.Name, rbdID, false)
}

// unused is backends.ErrInUse for an image that somebody has open for writing, or that has snapshots.
func unused(io *rados.IOContext, rbdID string) error {
	return lookInto(io, rbdID, func(image *rbd.Image) error {
		if err := unwatched(image); err != nil {
			return err
		}
		return unsnapped(image)
	})
}

// unsnapped is backends.ErrInUse for an image that has snapshots.
func unsnapped(image *rbd.Image) error {
	snapshots, err := image.GetSnapshotNames()
	if err == nil && len(snapshots) > 0 {
		return fmt.Errorf("it has snapshot %s: %w", snapshots[0].Name, backends.ErrInUse)
	}
	return err
}

// asMade is backends.ErrInUse for a volume that is not as its clone was made: somebody has it open, has a
// snapshot of it, or has written to it. Of a volume that was written at first, as a copy is, it cannot be told
// whether its owner has written to it.
func asMade(io *rados.IOContext, rbdID string) error {
	return lookInto(io, rbdID, func(image *rbd.Image) error {
		if err := errors.Join(unwatched(image), unsnapped(image)); err != nil {
			return err
		}
		untouched, err := empty(image)
		if err == nil && !untouched {
			return fmt.Errorf("it holds data of its own: %w", backends.ErrInUse)
		}
		return err
	})
}

// unwatched is backends.ErrInUse for an image that somebody else has open for writing.
func unwatched(image *rbd.Image) error {
	watchers, err := image.ListWatchers()
	if err == nil && len(watchers) > 0 {
		return fmt.Errorf("%s has it open: %w", watchers[0].Addr, backends.ErrInUse)
	}
	return err
}

// watched names the client that keeps an image from being removed. After a kill -9 it is the dead client, until
// the OSDs miss it: the same call succeeds then.
func watched(io *rados.IOContext, rbdID string, err error) error {
	if !is(err, syscall.EBUSY) {
		return err
	}
	_ = lookInto(io, rbdID, func(image *rbd.Image) error {
		watchers, cannot := image.ListWatchers()
		for _, c := range watchers {
			err = fmt.Errorf("client.%d at %s has it open, or died less than osd_client_watch_timeout ago (Ceph's default is 30 s): %w", c.Id, c.Addr, err)
		}
		return cannot
	})
	return err
}

// lookInto opens an image to look at it. One that cannot be opened, since it is half made, or gone, or its
// parent is, is passed over.
func lookInto(io *rados.IOContext, rbdID string, look func(image *rbd.Image) error) error {
	image, err := rbd.OpenImageByIdReadOnly(io, rbdID, rbd.NoSnapshot)
	if is(err, syscall.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(look(image), image.Close())
}
