//go:build ceph

package rbd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// imageFeatures are an image-volume's: it has one writer, once, and no lock that a process which is
// killed would leave behind.
const imageFeatures = rbd.FeatureLayering

// imageStage is an image-volume being written. Its end - commit, discard or retire - has the turn of the
// image-volume alone.
type imageStage struct {
	*content
	b *Backend
	indexed

	snapshot *snapshotID // of the snapshot that Commit makes; nil: librbd's own way
	data     dataPlace

	mu    sync.Mutex
	ended end
}

// end is how an image-volume's stage ended.
type end int

const (
	notEnded end = iota
	committed
	discarded // or retired
)

// Stage implements backends.Store. A cluster that is nearly full is backends.ErrNoSpace.
func (b *Backend) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	spec = spec.Rounded()
	if err := checkID(spec.ID); err != nil {
		return nil, err
	}
	if spec.VirtualBytes <= 0 {
		return nil, fmt.Errorf("stage image-volume %s: size %d is not positive", spec.ID, spec.VirtualBytes)
	}
	st, err := do(ctx, b, func(w *work) (*imageStage, error) { return b.stage(w, spec) })
	if err != nil {
		return nil, onImage("stage", spec.ID, err)
	}
	return st, nil
}

func (b *Backend) stage(w *work, spec backends.StageSpec) (*imageStage, error) {
	leave, err := b.images.alone(w.ctx, string(spec.ID))
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := b.mayStage(w, spec.ID); err != nil {
		return nil, err
	}
	make := b.stageNew
	if spec.Adopt != "" {
		make = b.adopt
	}
	st, err := make(w, spec)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.stages[spec.ID] = st
	b.mu.Unlock()
	w.ifAbandoned(func(context.Context) { _ = st.discard(w) })
	return st, nil
}

// stageNew stages an image of our own.
func (b *Backend) stageNew(w *work, spec backends.StageSpec) (*imageStage, error) {
	e := indexed{ID: spec.ID, At: b.config.Now().UTC()}
	if err := writeIndex(w.images, imageKeys+string(spec.ID), e); err != nil {
		return nil, err
	}
	st, err := b.makeStage(w, spec, e)
	if err == nil {
		err = w.ctx.Err()
	}
	if err == nil || errors.Is(err, backends.ErrExist) {
		return st, err
	}
	if e.RBDID, _ = idOf(w.images, imageName(spec.ID)); e.RBDID == "" {
		return nil, errors.Join(err, dropFromIndex(w.images, imageKeys+string(spec.ID)))
	}
	if st != nil {
		st.close()
	}
	return nil, errors.Join(err, b.destroy(w, e))
}

// mayStage: backends.ErrExist where the ID is taken, backends.ErrNoSpace where there is no room.
func (b *Backend) mayStage(w *work, id backends.ImageVolumeID) error {
	if err := hasRoom(w.conn, b.config.ImageVolumePool); err != nil {
		return err
	}
	_, err := b.find(w.session, id)
	switch {
	case err == nil:
		return backends.ErrExist
	case !errors.Is(err, backends.ErrNotExist):
		return err
	}
	return w.ctx.Err()
}

// makeStage creates, describes and opens the image.
func (b *Backend) makeStage(w *work, spec backends.StageSpec, e indexed) (*imageStage, error) {
	name := imageName(spec.ID)
	err := withOptions(imageFeatures, func(o *rbd.ImageOptions) error {
		return rbd.CreateImage(w.images, name, uint64(spec.VirtualBytes), o)
	})
	if is(err, syscall.EEXIST) {
		return nil, fmt.Errorf("image %s: %w", name, backends.ErrExist)
	}
	if err != nil {
		return nil, err
	}
	if e.RBDID, err = idOf(w.images, name); err != nil {
		return nil, err
	}
	if err := writeIndex(w.images, imageKeys+string(spec.ID), e); err != nil {
		return nil, err
	}
	record := imageRecord{RBDID: e.RBDID, ID: spec.ID, Description: spec.Description}
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
	return st, st.foresee(w, image)
}

// foresee asks for the ID of the snapshot that Commit makes, so that it does not wait for that, where the image has no
// other features than those of ours: else its data may lie in another pool, see rbd_default_data_pool.
func (st *imageStage) foresee(w *work, image *rbd.Image) error {
	features, err := image.GetFeatures()
	if err == nil && features == imageFeatures {
		st.snapshot = st.b.askSnapshotID(w.images)
	}
	return err
}

// Commit implements backends.ImageVolumeStage. The snapshot is the last step, and what makes it one that
// can be cloned.
func (st *imageStage) Commit(ctx context.Context, final backends.Description) (backends.ImageVolume, error) {
	err := st.drain(ctx)
	var v backends.ImageVolume
	if err == nil {
		v, err = do(ctx, st.b, func(w *work) (backends.ImageVolume, error) { return st.commit(w, final) })
	}
	return v, onImage("commit", st.ID, err)
}

func (st *imageStage) commit(w *work, final backends.Description) (backends.ImageVolume, error) {
	leave, err := st.b.images.alone(w.ctx, string(st.ID))
	if err != nil {
		return backends.ImageVolume{}, err
	}
	defer leave()
	if st.is(committed, discarded) {
		return backends.ImageVolume{}, fmt.Errorf("it has been retired, discarded or committed: %w", backends.ErrNotExist)
	}
	if err := st.whole(); err != nil {
		return backends.ImageVolume{}, err
	}
	record := imageRecord{RBDID: st.RBDID, ID: st.ID, Adopted: st.Adopted, HeldBytes: st.HeldBytes(), Description: final}
	err = st.handle.use(func(image *rbd.Image) error {
		if err := image.Flush(); err != nil {
			return err
		}
		return st.takeSnapshot(w, image, record)
	})
	if err != nil {
		return backends.ImageVolume{}, err
	}
	st.finish(committed)
	w.ifAbandoned(func(context.Context) { _ = st.b.destroy(w, st.indexed) })
	st.b.remember(st.ID, parent{name: st.name(), snapshot: snapshotName, bytes: st.size})
	return backends.ImageVolume{
		ID: st.ID, State: backends.Committed, VirtualBytes: st.size, HeldBytes: record.HeldBytes, Description: final,
	}, nil
}

// takeSnapshot writes the image's record and takes its snapshot. Nothing may be writing to it.
func (st *imageStage) takeSnapshot(w *work, image *rbd.Image, record imageRecord) error {
	if st.snapshot != nil {
		id, err := st.snapshot.wait()
		if err := cmp.Or(err, w.ctx.Err()); err != nil {
			return err
		}
		return writeRecordAndSnapshot(w.images, st.RBDID, record, id)
	}
	if err := writeRecord(w.images, st.RBDID, imageVolumeKey, record); err != nil {
		return err
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	_, err := image.CreateSnapshot(snapshotName)
	return err
}

// Discard implements backends.Stage.
func (st *imageStage) Discard(ctx context.Context) error {
	if st.is(committed, discarded) {
		return nil
	}
	err := st.b.try(ctx, st.discard)
	return onImage("discard", st.ID, err)
}

func (st *imageStage) discard(w *work) error {
	leave, err := st.b.images.alone(context.WithoutCancel(w.ctx), string(st.ID))
	if err != nil {
		return err
	}
	defer leave()
	if st.is(committed, discarded) {
		return nil
	}
	st.finish(discarded)
	st.endLate(w)
	return st.b.destroy(w, st.indexed)
}

func (st *imageStage) is(ends ...end) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, e := range ends {
		if st.ended == e {
			return true
		}
	}
	return false
}

// finish closes the image; the turn of the image-volume is held alone.
func (st *imageStage) finish(as end) {
	st.mu.Lock()
	st.ended = as
	st.mu.Unlock()
	st.close()
	st.b.mu.Lock()
	delete(st.b.stages, st.ID)
	st.b.mu.Unlock()
}

// withOptions runs f with options for a new image of these features.
func withOptions(features uint64, f func(o *rbd.ImageOptions) error) error {
	o := rbd.NewRbdImageOptions()
	defer o.Destroy()
	if err := o.SetUint64(rbd.ImageOptionFeatures, features); err != nil {
		return err
	}
	return f(o)
}
