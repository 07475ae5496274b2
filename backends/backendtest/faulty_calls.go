package backendtest

import (
	"context"
	"iter"

	"github.com/clonecache/clonecache/backends"
)

var (
	_ backends.Backend = (*Faulty)(nil)
	_ CopyBackend      = (*FaultyCopier)(nil)
)

// nothing is the answer of calls that have none but an error.
type nothing struct{}

func justErr(do func() error) func() (nothing, error) {
	return func() (nothing, error) { return nothing{}, do() }
}

// Info implements backends.Store. It is never disturbed.
func (f *Faulty) Info() backends.Info { return f.backend.Info() }

// Close implements backends.Store.
func (f *Faulty) Close() error {
	_, err := call(context.Background(), f, MethodClose, justErr(f.backend.Close))
	return err
}

// Stage implements backends.Store.
func (f *Faulty) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	return call(ctx, f, MethodStage, func() (backends.ImageVolumeStage, error) {
		s, err := f.backend.Stage(ctx, spec)
		if err != nil {
			return nil, err
		}
		return &faultyImageStage{faultyStage{f, s}, s}, nil
	})
}

// Retire implements backends.Store.
func (f *Faulty) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	return call(ctx, f, MethodRetire, func() (backends.Retired, error) { return f.backend.Retire(ctx, id) })
}

// Reap implements backends.Store.
func (f *Faulty) Reap(ctx context.Context) (backends.Reaped, error) {
	return call(ctx, f, MethodReap, func() (backends.Reaped, error) { return f.backend.Reap(ctx) })
}

// ListImageVolumes implements backends.Store.
func (f *Faulty) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return list(ctx, f, MethodListImageVolumes, f.backend.ListImageVolumes(ctx))
}

// Capacity implements backends.Store.
func (f *Faulty) Capacity(ctx context.Context) (backends.Capacity, error) {
	return call(ctx, f, MethodCapacity, func() (backends.Capacity, error) { return f.backend.Capacity(ctx) })
}

// Clone implements backends.Backend.
func (f *Faulty) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	return call(ctx, f, MethodClone, func() (backends.Volume, error) { return f.backend.Clone(ctx, id, spec) })
}

// CreateVolume implements backends.Volumes.
func (f *Faulty) CreateVolume(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
	return call(ctx, f, MethodCreateVolume, func() (backends.VolumeStage, error) {
		s, err := f.backend.CreateVolume(ctx, spec)
		if err != nil {
			return nil, err
		}
		return &faultyVolumeStage{faultyStage{f, s}, s}, nil
	})
}

// StatVolume implements backends.Volumes.
func (f *Faulty) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	return call(ctx, f, MethodStatVolume, func() (backends.Volume, error) { return f.backend.StatVolume(ctx, name) })
}

// ListVolumes implements backends.Volumes.
func (f *Faulty) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	return list(ctx, f, MethodListVolumes, f.backend.ListVolumes(ctx))
}

// DeleteVolume implements backends.Volumes.
func (f *Faulty) DeleteVolume(ctx context.Context, ref backends.VolumeRef) error {
	_, err := call(ctx, f, MethodDeleteVolume, justErr(func() error { return f.backend.DeleteVolume(ctx, ref) }))
	return err
}

// Settle implements backends.Volumes.
func (f *Faulty) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	return call(ctx, f, MethodSettle, func() (backends.Settled, error) { return f.backend.Settle(ctx, spec) })
}

// OpenVolume implements Reader, undisturbed.
func (f *Faulty) OpenVolume(ctx context.Context, name backends.VolumeName) (VolumeReader, error) {
	return openVolume(ctx, f.backend, name)
}

// MakeForeign implements Foreigner, undisturbed.
func (f *Faulty) MakeForeign(ctx context.Context, name backends.VolumeName, data []byte) error {
	return makeForeign(ctx, f.backend, name, data)
}

// UseVolume implements User, undisturbed.
func (f *Faulty) UseVolume(ctx context.Context, name backends.VolumeName, how Usage) (end func() error, err error) {
	return useVolume(ctx, f.backend, name, how)
}

type faultyStage struct {
	faulty *Faulty
	stage  backends.Stage
}

func (s faultyStage) WriteAt(p []byte, off int64) (int, error) {
	return call(context.Background(), s.faulty, MethodWriteAt, func() (int, error) { return s.stage.WriteAt(p, off) })
}

func (s faultyStage) Discard(ctx context.Context) error {
	_, err := call(ctx, s.faulty, MethodDiscard, justErr(func() error { return s.stage.Discard(ctx) }))
	return err
}

type faultyImageStage struct {
	faultyStage
	image backends.ImageVolumeStage
}

func (s *faultyImageStage) HeldBytes() int64 { return s.image.HeldBytes() }

func (s *faultyImageStage) Commit(ctx context.Context, final backends.Description) (backends.ImageVolume, error) {
	return call(ctx, s.faulty, MethodCommit, func() (backends.ImageVolume, error) { return s.image.Commit(ctx, final) })
}

type faultyVolumeStage struct {
	faultyStage
	volume backends.VolumeStage
}

func (s *faultyVolumeStage) Commit(ctx context.Context) (backends.Volume, error) {
	return call(ctx, s.faulty, MethodCommitVolume, func() (backends.Volume, error) { return s.volume.Commit(ctx) })
}

// Identify implements backends.Store.
func (f *Faulty) Identify(ctx context.Context) (backends.Identity, error) {
	return call(ctx, f, MethodIdentify, func() (backends.Identity, error) { return f.backend.Identify(ctx) })
}

// HoldFor implements backends.Store.
func (f *Faulty) HoldFor(ctx context.Context, h backends.Holder) error {
	_, err := call(ctx, f, MethodHoldFor, justErr(func() error { return f.backend.HoldFor(ctx, h) }))
	return err
}

// TakeOver implements backends.Store.
func (f *Faulty) TakeOver(ctx context.Context, h backends.Holder) (backends.Holder, error) {
	return call(ctx, f, MethodTakeOver, func() (backends.Holder, error) { return f.backend.TakeOver(ctx, h) })
}
