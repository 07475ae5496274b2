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

var _ backends.Adopter = (*Backend)(nil)

// CanAdopt implements backends.Adopter. The volume must lie in the image-volumes' pool.
func (b *Backend) CanAdopt() bool { return true }

// adopt stages an image that the internal tenant's own service has made: it is named in the index, gets
// its record and its size. A process that dies in it leaves a Staged image-volume. backends.ErrInUse:
// somebody has it open.
func (b *Backend) adopt(w *work, spec backends.StageSpec) (*imageStage, error) {
	if err := checkName(spec.Adopt); err != nil {
		return nil, err
	}
	leave, err := b.names.alone(w.ctx, string(spec.Adopt))
	if err != nil {
		return nil, err
	}
	defer leave()
	rbdID, err := idOf(w.images, string(spec.Adopt))
	if is(err, syscall.ENOENT) {
		return nil, fmt.Errorf("pool %s has no image %s to adopt: %w", b.config.ImageVolumePool, spec.Adopt, backends.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if err := mayAdopt(w, rbdID); err != nil {
		return nil, fmt.Errorf("adopt image %s: %w", spec.Adopt, err)
	}
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	e := indexed{ID: spec.ID, RBDID: rbdID, At: b.config.Now().UTC(), Adopted: spec.Adopt}
	if err := writeIndex(w.images, imageKeys+string(spec.ID), e); err != nil {
		return nil, err
	}
	st, err := b.makeAdopted(w, spec, e)
	if err == nil {
		err = w.ctx.Err()
	}
	if err == nil {
		return st, nil
	}
	if st != nil {
		st.close()
	}
	return nil, errors.Join(fmt.Errorf("adopt image %s: %w", spec.Adopt, err), b.destroy(w, e))
}

// makeAdopted describes the image, opens it and gives it its size.
func (b *Backend) makeAdopted(w *work, spec backends.StageSpec, e indexed) (*imageStage, error) {
	record := imageRecord{RBDID: e.RBDID, ID: spec.ID, Adopted: spec.Adopt, Description: spec.Description}
	if err := writeRecord(w.images, e.RBDID, imageVolumeKey, record); err != nil {
		return nil, err
	}
	image, err := rbd.OpenImageById(w.images, e.RBDID, rbd.NoSnapshot)
	if err != nil {
		return nil, err
	}
	st := &imageStage{content: newContent(b, image, spec.VirtualBytes, spec.Room), b: b, indexed: e}
	if st.data, err = placeOf(w, image); err != nil {
		return st, err
	}
	if err := simplify(image); err != nil {
		return st, err
	}
	size, err := image.GetSize()
	if err == nil && int64(size) != spec.VirtualBytes {
		err = image.Resize(uint64(spec.VirtualBytes))
	}
	if err != nil {
		return st, err
	}
	return st, st.foresee(w, image)
}

// ofManyWriters are features that an image-volume has no use for, since it has one writer, once, and no parent. With
// them each object costs an operation more, and its snapshot a copy of the object map while the image is locked.
const ofManyWriters = rbd.FeatureExclusiveLock | rbd.FeatureObjectMap | rbd.FeatureFastDiff | rbd.FeatureDeepFlatten

// simplify leaves an adopted image the features of an image-volume, unless it has one that says something else than how
// it is written (a journal, a pool for its data): then it stays as it is. The image has no content yet. A process that dies
// in it leaves an image that its owner's service can remove as any other.
func simplify(image *rbd.Image) error {
	features, err := image.GetFeatures()
	if err != nil || features == imageFeatures || features&^ofManyWriters != imageFeatures {
		return err
	}
	return image.UpdateFeatures(features&ofManyWriters, false)
}

// mayAdopt is nil for an image that nobody uses and that is as it was created. backends.ErrNotOurs,
// backends.ErrInUse.
func mayAdopt(w *work, rbdID string) error {
	if err := unmarked(w.images, rbdID); err != nil {
		return err
	}
	return lookInto(w.images, rbdID, func(image *rbd.Image) error {
		if err := unwatched(image); err != nil {
			return err
		}
		_, err := image.GetParent()
		if err == nil {
			return fmt.Errorf("it is a clone: %w", backends.ErrNotOurs)
		}
		if ignore(err, syscall.ENOENT) != nil {
			return err
		}
		blank, err := empty(image)
		if err == nil && !blank {
			return fmt.Errorf("it has data or snapshots: %w", backends.ErrNotOurs)
		}
		return err
	})
}

// unmarked is backends.ErrNotOurs for an image that we use already: another image-volume, or a volume.
func unmarked(io *rados.IOContext, rbdID string) error {
	r, err := readImageRecord(io, rbdID)
	if err == nil {
		return fmt.Errorf("it is image-volume %s already: %w", r.ID, backends.ErrNotOurs)
	}
	if !errors.Is(err, backends.ErrNotOurs) {
		return err
	}
	_, err = readVolumeRecord(io, rbdID)
	if err == nil {
		return fmt.Errorf("it is a volume that a requester got: %w", backends.ErrNotOurs)
	}
	if !errors.Is(err, backends.ErrNotOurs) {
		return err
	}
	return nil
}

// giveBack ends an adopted image-volume that has no snapshot of ours any more: our record and its place in
// the index go, and the image is its owner's service's alone. One which that service has moved to the
// trash, since our snapshot kept it from removing it, is purged from there: nobody else does. Not gone:
// clones need it, or somebody has it open, which would keep the service from removing it.
func (b *Backend) giveBack(w *work, l located, clones int) (backends.Retired, error) {
	if clones > 0 {
		return backends.Retired{Clones: clones}, nil
	}
	if err := b.withoutDead(w, w.images, l.RBDID); err != nil {
		if errors.Is(err, backends.ErrInUse) {
			b.noteHeld(w, &l)
			return backends.Retired{}, nil
		}
		return backends.Retired{}, err
	}
	purged, err := b.purge(w, l.RBDID)
	if err != nil {
		return backends.Retired{}, err
	}
	if !purged {
		b.noteHeld(w, &l)
		return backends.Retired{}, nil
	}
	err = dropRecord(w.images, l.RBDID, imageVolumeKey)
	if err == nil {
		err = dropFromIndex(w.images, imageKeys+string(l.ID))
	}
	return backends.Retired{Gone: err == nil, FreedBytes: l.record.HeldBytes}, err
}

// purge removes an image from the trash, if it is there, and tells whether nothing of ours keeps it there.
// One that its owner's service keeps for some time yet stays for that service to purge.
func (b *Backend) purge(w *work, rbdID string) (done bool, err error) {
	trashed, err := inTrash(w.images, rbdID)
	if err != nil || !trashed {
		return err == nil, err
	}
	w.mayTake(removalTimeouts * b.config.Timeout)
	err = removeTrashed(w.images, rbdID, false)
	if is(err, syscall.ENOTEMPTY) || is(err, syscall.EBUSY) {
		return false, nil
	}
	err = ignore(err, syscall.ENOENT, syscall.EPERM)
	return err == nil, err
}
