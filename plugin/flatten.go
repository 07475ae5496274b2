package plugin

import (
	"context"
	"fmt"

	"github.com/clonecache/clonecache/backends"
)

// Flattened is what a flatten came to.
type Flattened struct {
	Volume     backends.VolumeName `json:"volume"`
	Backend    backends.Name       `json:"backend"`
	TookMS     float64             `json:"took_ms"`
	Reaped     int                 `json:"reaped" doc:"Detached image-volumes that nothing depends on any more, and that are gone"`
	FreedBytes int64               `json:"freed_bytes" doc:"Their bytes"`
}

// FlattenVolume copies into a volume what it still shares with its image-volume or its image, so that it
// depends on nothing any more, and then frees what nothing depends on any more. It takes as long as a copy,
// and the volume may be in use. Where clones are independent anyway it does nothing. progress may be nil.
// If ctx ends, or after a crash, the volume is whole and partly copied: repeat it.
//
// backends.ErrNotExist, backends.ErrNotOurs, backends.ErrNoSpace, ErrCannotFlatten, ErrUnknownBackend.
func (p *Plugin) FlattenVolume(ctx context.Context, backend backends.Name, volume backends.VolumeName, progress func(done, total int64)) (Flattened, error) {
	leave, ok := p.gate.enter()
	if !ok {
		return Flattened{}, ErrStopping
	}
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.base, cancel)()
	s, err := p.stock.backendNamed(backend)
	if err != nil {
		return Flattened{}, err
	}
	begun := p.now()
	if err := s.flatten(ctx, volume, progress); err != nil {
		return Flattened{}, fmt.Errorf("flatten volume %s on %s: %w", volume, s.name, err)
	}
	log := p.log.WithFields(map[string]any{"backend": s.name, "volume": volume})
	reaped, err := p.stock.reap(ctx, s)
	if err != nil { // the volume is flat; tidy tries again
		log.WithError(err).Warn("detached image-volumes not reaped; trying again")
	}
	took := p.now().Sub(begun)
	log.WithField("took", took).Info("volume flattened")
	return Flattened{
		Volume: volume, Backend: s.name, TookMS: float64(took.Microseconds()) / 1000,
		Reaped: len(reaped.ImageVolumes), FreedBytes: reaped.FreedBytes,
	}, nil
}

func (s *store) flatten(ctx context.Context, volume backends.VolumeName, progress func(done, total int64)) error {
	if f, ok := backends.Capability[backends.Flattener](s.backend); ok {
		return f.Flatten(ctx, volume, progress)
	}
	v, err := s.backend.StatVolume(ctx, volume)
	if err == nil && v.DependsOn != "" {
		return ErrCannotFlatten
	}
	return err
}

// dependents are the volumes that still depend on an image-volume. It costs a listing of the backend's
// volumes.
func (s *store) dependents(ctx context.Context, id backends.ImageVolumeID) ([]backends.VolumeName, error) {
	if s.backend == nil || s.images.Info().IndependentClones {
		return nil, nil
	}
	var names []backends.VolumeName
	for v, err := range s.backend.ListVolumes(ctx) {
		if err != nil {
			return nil, err
		}
		if v.DependsOn == string(id) {
			names = append(names, v.Name)
		}
	}
	return names, nil
}
