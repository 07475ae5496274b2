package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/imagefile"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// volumeMode is a volume's permissions, less the process's umask, where Owner.Mode says nothing.
const volumeMode = 0o660

// Clone implements backends.Backend: the image-volume's file is reflinked into a file without a name,
// which is grown, stamped, and then linked to its name. See rawfile.Draft for what is durable when.
func (b *Backend) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	spec = spec.Rounded()
	v, err := b.clone(ctx, id, spec)
	if err != nil {
		return backends.Volume{}, fmt.Errorf("clone image-volume %s to volume %q: %w", id, spec.Name, err)
	}
	return v, nil
}

func (b *Backend) clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	if err := b.checkSpec(spec); err != nil {
		return backends.Volume{}, err
	}
	if !b.info.CanClone {
		return backends.Volume{}, backends.ErrCannotClone
	}
	if err := ctx.Err(); err != nil {
		return backends.Volume{}, err
	}
	source, err := b.images.Source(id)
	if err != nil {
		return backends.Volume{}, err
	}
	defer source.Release()
	if spec.SizeBytes < source.Size {
		return backends.Volume{}, fmt.Errorf("%d bytes are asked for, the image has %d: %w", spec.SizeBytes, source.Size, backends.ErrTooSmall)
	}
	d, err := b.draft(spec)
	if err != nil {
		return backends.Volume{}, err
	}
	v, err := d.clone(source)
	return v, d.end(err)
}

// draft is a volume being made.
type draft struct {
	*rawfile.Draft
	backend *Backend
	stamp   stamp
}

func (b *Backend) draft(spec backends.VolumeSpec) (*draft, error) {
	s := b.newStamp(spec)
	d, err := b.volumes.Draft(rawfile.DraftSpec{Staged: string(s.ID), Mode: volumeMode})
	if err != nil {
		return nil, err
	}
	return &draft{Draft: d, backend: b, stamp: s}, nil
}

// end gives back what the draft used: all of it if err says that the volume did not come about.
func (d *draft) end(err error) error {
	if err != nil {
		return errors.Join(err, d.Discard())
	}
	_ = d.Close() // all is durable
	return nil
}

func (d *draft) clone(source *imagefile.Source) (backends.Volume, error) {
	if err := rawfile.Reflink(d.File, source.File); err != nil {
		return backends.Volume{}, err
	}
	info, err := d.Stat()
	if err != nil {
		return backends.Volume{}, rawfile.Explain(err)
	}
	if err := source.Holds(info.Size()); err != nil { // it was cut after it was looked at
		return backends.Volume{}, err
	}
	if d.stamp.SizeBytes > source.Size {
		if err := d.Truncate(d.stamp.SizeBytes); err != nil {
			return backends.Volume{}, rawfile.Explain(err)
		}
	}
	return d.publish(d.PublishReflinked)
}

// publish stamps the draft, gives it to its owner, and lets it appear. Where that fails nothing appears.
func (d *draft) publish(appear func(name string) error) (backends.Volume, error) {
	info, err := d.Finished()
	if err != nil {
		return backends.Volume{}, err
	}
	if info.Size() != d.stamp.SizeBytes {
		return backends.Volume{}, fmt.Errorf("it came out at %d bytes, %d were asked for", info.Size(), d.stamp.SizeBytes)
	}
	d.stamp.Written = written(info)
	if err := d.Stamp(d.stamp.record()); err != nil {
		return backends.Volume{}, err
	}
	if err := d.backend.access.give(d.File); err != nil {
		return backends.Volume{}, err
	}
	if err := appear(string(d.stamp.Name)); err != nil {
		return backends.Volume{}, err
	}
	return d.backend.volume(d.stamp, info), nil
}

// CopyFromFile implements backends.FileCopier.
func (b *Backend) CopyFromFile(
	ctx context.Context, src *os.File, spec backends.VolumeSpec, progress func(copied int64),
) (backends.Volume, backends.CopyMethod, error) {
	spec = spec.Rounded()
	v, method, err := b.copy(ctx, src, spec, progress)
	if err != nil {
		return backends.Volume{}, "", onVolume("copy "+src.Name()+" to", spec.Name, err)
	}
	return v, method, nil
}

func (b *Backend) copy(
	ctx context.Context, src *os.File, spec backends.VolumeSpec, progress func(copied int64),
) (backends.Volume, backends.CopyMethod, error) {
	if err := b.vacant(ctx, spec); err != nil {
		return backends.Volume{}, "", err
	}
	info, err := src.Stat()
	if err != nil {
		return backends.Volume{}, "", rawfile.Explain(err)
	}
	if spec.SizeBytes < info.Size() {
		return backends.Volume{}, "", fmt.Errorf("%d bytes are asked for, the file has %d: %w", spec.SizeBytes, info.Size(), backends.ErrTooSmall)
	}
	d, err := b.draft(spec)
	if err != nil {
		return backends.Volume{}, "", err
	}
	v, method, err := d.copy(ctx, src, progress)
	return v, method, d.end(err)
}

func (d *draft) copy(ctx context.Context, src *os.File, progress func(int64)) (backends.Volume, backends.CopyMethod, error) {
	before, err := src.Stat()
	if err != nil {
		return backends.Volume{}, "", rawfile.Explain(err)
	}
	method, err := rawfile.Copy(ctx, d.File, src, progress)
	if err != nil {
		return backends.Volume{}, "", err
	}
	if after, err := src.Stat(); err != nil || after.Size() != before.Size() {
		return backends.Volume{}, "", errors.Join(fmt.Errorf("%s changed its size of %d bytes while it was copied", src.Name(), before.Size()), err)
	}
	if err := d.Truncate(d.stamp.SizeBytes); err != nil {
		return backends.Volume{}, "", rawfile.Explain(err)
	}
	v, err := d.publish(d.PublishWritten)
	return v, method, err
}

// vacant checks what can be checked before the work begins; the name may be taken all the same when it
// ends.
func (b *Backend) vacant(ctx context.Context, spec backends.VolumeSpec) error {
	if err := b.checkSpec(spec); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	taken, err := b.volumes.Exists(string(spec.Name))
	if err == nil && taken {
		err = fs.ErrExist
	}
	return rawfile.Explain(err)
}
