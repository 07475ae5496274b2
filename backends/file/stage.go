package file

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// volumeStage is a volume being written by the caller.
type volumeStage struct {
	draft *draft
	life  rawfile.Lifecycle
}

// CreateVolume implements backends.Volumes.
func (b *Backend) CreateVolume(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
	spec = spec.Rounded()
	if err := b.vacant(ctx, spec); err != nil {
		return nil, onVolume("create", spec.Name, err)
	}
	d, err := b.draft(spec)
	if err != nil {
		return nil, onVolume("create", spec.Name, err)
	}
	if err := d.Truncate(spec.SizeBytes); err != nil {
		return nil, onVolume("create", spec.Name, errors.Join(rawfile.Explain(err), d.Discard()))
	}
	s := &volumeStage{draft: d}
	s.life.Leave(rawfile.Writing)
	return s, nil
}

// WriteAt implements backends.Stage. After a Commit or a Discard it answers backends.ErrNotExist.
func (s *volumeStage) WriteAt(p []byte, off int64) (int, error) {
	stamp := s.draft.stamp
	if off < 0 || off+int64(len(p)) > stamp.SizeBytes {
		return 0, onVolume("write", stamp.Name, fmt.Errorf("%d bytes at %d are beyond its %d bytes", len(p), off, stamp.SizeBytes))
	}
	if s.life.Phase() != rawfile.Writing {
		return 0, onVolume("write", stamp.Name, backends.ErrNotExist)
	}
	n, err := s.draft.WriteAt(p, off)
	if errors.Is(err, os.ErrClosed) {
		err = backends.ErrNotExist
	}
	return n, onVolume("write", stamp.Name, rawfile.Explain(err))
}

// Commit implements backends.VolumeStage.
func (s *volumeStage) Commit(ctx context.Context) (backends.Volume, error) {
	if err := ctx.Err(); err != nil {
		return backends.Volume{}, err
	}
	name := s.draft.stamp.Name
	if s.life.Enter() != rawfile.Writing {
		return backends.Volume{}, onVolume("commit", name, backends.ErrNotExist)
	}
	v, err := s.draft.publish(s.draft.PublishWritten)
	if err != nil {
		s.life.Leave(rawfile.Writing)
		return backends.Volume{}, onVolume("commit", name, err)
	}
	s.life.Leave(rawfile.Published)
	_ = s.draft.Close() // all is durable
	return v, nil
}

// Discard implements backends.Stage.
func (s *volumeStage) Discard(context.Context) error {
	if s.life.Enter() != rawfile.Writing {
		return nil
	}
	defer s.life.Leave(rawfile.Discarded)
	return onVolume("discard", s.draft.stamp.Name, s.draft.Discard())
}
