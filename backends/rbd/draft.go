//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// draft is a volume being written. It has its name already, and a record that says it is not whole.
type draft struct {
	*content
	spec  backends.VolumeSpec
	rbdID string

	mu    sync.Mutex
	ended end
}

// CreateVolume implements backends.Volumes. The name is taken from here on; `rbd ls` shows the image.
func (b *Backend) CreateVolume(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
	spec = spec.Rounded()
	err := checkSpec(spec)
	var d *draft
	if err == nil {
		d, err = do(ctx, b, func(w *work) (*draft, error) { return b.create(w, spec) })
	}
	if err != nil {
		return nil, onVolume("create", spec.Name, err)
	}
	return d, nil
}

func (b *Backend) create(w *work, spec backends.VolumeSpec) (*draft, error) {
	leave, err := b.names.alone(w.ctx, string(spec.Name))
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := hasRoom(w.conn, b.config.Pool); err != nil {
		return nil, err
	}
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	err = withOptions(b.features, func(o *rbd.ImageOptions) error {
		return rbd.CreateImage(w.volumes, string(spec.Name), uint64(spec.SizeBytes), o)
	})
	if err != nil {
		return nil, err
	}
	d, err := b.openDraft(w, spec)
	if err != nil {
		return nil, errors.Join(err, b.undo(w, spec.Name, ""))
	}
	w.ifAbandoned(func(context.Context) { _ = d.discard(w) })
	return d, nil
}

func (b *Backend) openDraft(w *work, spec backends.VolumeSpec) (*draft, error) {
	rbdID, err := idOf(w.volumes, string(spec.Name))
	if err != nil {
		return nil, err
	}
	if err := writeRecord(w.volumes, rbdID, volumeKey, newVolumeRecord(rbdID, writing, spec)); err != nil {
		return nil, err
	}
	image, err := rbd.OpenImageById(w.volumes, rbdID, rbd.NoSnapshot)
	if err != nil {
		return nil, err
	}
	return &draft{content: newContent(b, image, spec.SizeBytes, nil), spec: spec, rbdID: rbdID}, nil
}

// Commit implements backends.VolumeStage.
func (d *draft) Commit(ctx context.Context) (backends.Volume, error) {
	err := d.drain(ctx)
	var v backends.Volume
	if err == nil {
		v, err = do(ctx, d.b, d.commit)
	}
	return v, onVolume("commit", d.spec.Name, err)
}

func (d *draft) commit(w *work) (backends.Volume, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended != notEnded {
		return backends.Volume{}, errors.New("it was committed or discarded")
	}
	if err := d.whole(); err != nil {
		return backends.Volume{}, err
	}
	if err := d.handle.use(func(image *rbd.Image) error { return image.Flush() }); err != nil {
		return backends.Volume{}, err
	}
	if err := w.ctx.Err(); err != nil {
		return backends.Volume{}, err
	}
	d.close()
	if err := writeRecord(w.volumes, d.rbdID, volumeKey, newVolumeRecord(d.rbdID, whole, d.spec)); err != nil {
		if is(err, syscall.ENOENT) {
			err = fmt.Errorf("its image is gone: %w", err)
		}
		return backends.Volume{}, err
	}
	d.ended = committed
	return backends.Volume{
		Name: d.spec.Name, ID: backends.VolumeID(d.rbdID), SizeBytes: d.spec.SizeBytes,
		Token: d.spec.Token, Origin: d.spec.Origin, Complete: true,
	}, nil
}

// Discard implements backends.Stage.
func (d *draft) Discard(ctx context.Context) error {
	return onVolume("discard", d.spec.Name, d.b.try(ctx, d.discard))
}

func (d *draft) discard(w *work) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended != notEnded {
		return nil
	}
	leave, err := d.b.names.alone(context.WithoutCancel(w.ctx), string(d.spec.Name))
	if err != nil {
		return err
	}
	defer leave()
	d.close()
	if err := d.b.undo(w, d.spec.Name, d.rbdID); err != nil && !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	d.ended = discarded
	return nil
}
