package cinder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// stage is an image-volume whose volume Cinder is filling, or has filled.
type stage struct {
	b    *Backend
	id   backends.ImageVolumeID
	v    volume
	done bool // committed
}

// errCinderWrites: nobody else does.
var errCinderWrites = errors.New("volumes of this backend are written by Cinder alone")

// Stage implements backends.Store: it marks the volume that the internal tenant's claim has brought, which Cinder fills.
// ErrNotExist, ErrNotOurs, ErrExist.
func (b *Backend) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	if spec.Adopt == "" {
		return nil, fmt.Errorf("stage image-volume %s: %w: its claim has brought no volume", spec.ID, backends.ErrCannotClone)
	}
	v, err := b.adoptable(ctx, spec.Adopt)
	if err != nil {
		return nil, fmt.Errorf("stage image-volume %s: %w", spec.ID, err)
	}
	if v.Metadata[metaImageVolume] != "" {
		return nil, fmt.Errorf("stage image-volume %s: volume %s is %s: %w", spec.ID, v.ID, v.Metadata[metaImageVolume], backends.ErrExist)
	}
	if err := b.note(ctx, v.ID, map[string]string{metaImageVolume: string(spec.ID)}); err != nil {
		return nil, fmt.Errorf("stage image-volume %s: %w", spec.ID, err)
	}
	return &stage{b: b, id: spec.ID, v: v}, nil
}

// adoptable is a volume of ours of the right type. ErrNotExist, ErrNotOurs.
func (b *Backend) adoptable(ctx context.Context, name backends.VolumeName) (volume, error) {
	ours, err := b.ours(ctx)
	if err != nil {
		return volume{}, err
	}
	v, err := b.get(ctx, strings.TrimPrefix(string(name), "volume-"))
	if err == nil && !ours.has(v) {
		err = fmt.Errorf("volume %s: %w", v.ID, backends.ErrNotOurs)
	}
	return v, err
}

// Fill implements backends.Filler.
func (b *Backend) Fill(ctx context.Context, of backends.ImageVolumeStage, filled func(int64)) error {
	s, ok := of.(*stage)
	if !ok {
		return fmt.Errorf("fill: %T is no stage of this backend", of)
	}
	v, err := b.await(ctx, s.v.ID, b.c.FillTime)
	if err != nil {
		return fmt.Errorf("fill image-volume %s: %w", s.id, err)
	}
	s.v = v
	filled(int64(v.Size) << 30)
	return nil
}

// WriteAt implements backends.Stage.
func (*stage) WriteAt([]byte, int64) (int, error) { return 0, errCinderWrites }

// HeldBytes implements backends.ImageVolumeStage.
func (s *stage) HeldBytes() int64 { return int64(s.v.Size) << 30 }

// Commit implements backends.ImageVolumeStage: the description first, then that it is committed.
func (s *stage) Commit(ctx context.Context, final backends.Description) (backends.ImageVolume, error) {
	about, err := json.Marshal(final)
	if err == nil {
		err = s.b.note(ctx, s.v.ID, pieces(string(about)))
	}
	if err == nil {
		err = s.b.note(ctx, s.v.ID, map[string]string{metaCommitted: s.b.c.Now().UTC().Format(time.RFC3339)})
	}
	if err != nil {
		return backends.ImageVolume{}, fmt.Errorf("commit image-volume %s: %w", s.id, err)
	}
	s.done = true
	return s.b.StatImageVolume(ctx, s.id)
}

// Discard implements backends.Stage.
func (s *stage) Discard(ctx context.Context) error {
	if s.done {
		return nil
	}
	_, err := s.b.Retire(ctx, s.id)
	if vanished(err) {
		return nil
	}
	return err
}
