package randomops

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/rpc"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/allot"
)

// poolClient is a host's way to a pool. step is told before each call, and after it.
type poolClient struct {
	client *rpc.Client
	step   func()
}

var (
	_ backends.Backend           = (*poolClient)(nil)
	_ backends.ImageVolumeStater = (*poolClient)(nil)
	_ backends.ImageVolumeReader = (*poolClient)(nil)
)

func dialPool(socket string, step func()) (*poolClient, error) {
	client, err := rpc.Dial("unix", socket)
	return &poolClient{client, step}, err
}

func (p *poolClient) call(ctx context.Context, c PoolCall) (PoolAnswer, error) {
	if err := ctx.Err(); err != nil {
		return PoolAnswer{}, err
	}
	p.step()
	defer p.step()
	var a PoolAnswer
	if err := p.client.Call("Pool.Call", &c, &a); err != nil {
		return a, fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
	}
	return a, a.err()
}

func (*poolClient) Info() backends.Info {
	return backends.Info{Kind: "memory", Location: "memory", CanClone: true, CloneMethod: "memory"}
}

func (*poolClient) Close() error                              { return nil }
func (*poolClient) CheckVolumeName(backends.VolumeName) error { return nil }
func (*poolClient) Capacity(context.Context) (backends.Capacity, error) {
	return backends.Capacity{}, nil
}

func (p *poolClient) Identify(ctx context.Context) (backends.Identity, error) {
	a, err := p.call(ctx, PoolCall{Method: callIdentify})
	return a.Identity, err
}

func (p *poolClient) HoldFor(ctx context.Context, h backends.Holder) error {
	_, err := p.call(ctx, PoolCall{Method: callHoldFor, Holder: h})
	return err
}

func (p *poolClient) TakeOver(ctx context.Context, h backends.Holder) (backends.Holder, error) {
	a, err := p.call(ctx, PoolCall{Method: callTakeOver, Holder: h})
	return a.Holder, err
}

func (p *poolClient) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	held := allot.New(allot.Config{UnitBytes: page, Room: spec.Room})
	spec.Room = nil
	a, err := p.call(ctx, PoolCall{Method: callStage, Stage: spec})
	if err != nil {
		return nil, err
	}
	return &poolStage{pool: p, handle: a.Handle, held: held}, nil
}

func (p *poolClient) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	a, err := p.call(ctx, PoolCall{Method: callRetire, Image: id})
	return a.Retired, err
}

func (p *poolClient) Reap(ctx context.Context) (backends.Reaped, error) {
	a, err := p.call(ctx, PoolCall{Method: callReap})
	return a.Reaped, err
}

func (p *poolClient) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	a, err := p.call(ctx, PoolCall{Method: callImages})
	return each(a.Images, err)
}

func (p *poolClient) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	a, err := p.call(ctx, PoolCall{Method: callVolumes})
	return each(a.Volumes, err)
}

// each yields what was listed, or the error alone.
func each[T any](all []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		for _, one := range all {
			if !yield(one, nil) {
				return
			}
		}
	}
}

func (p *poolClient) StatImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	a, err := p.call(ctx, PoolCall{Method: callImage, Image: id})
	if err != nil {
		return backends.ImageVolume{}, err
	}
	return a.Images[0], nil
}

func (p *poolClient) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	a, err := p.call(ctx, PoolCall{Method: callRead, Image: id})
	if err != nil {
		return nil, err
	}
	return readContent(a.Data), nil
}

// readContent is content that was read.
type readContent []byte

func (c readContent) Close() error { return nil }

func (c readContent) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(c)) {
		return 0, io.EOF
	}
	n := copy(b, c[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (p *poolClient) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	return p.volume(ctx, PoolCall{Method: callStatVolume, Ref: backends.VolumeRef{Name: name}})
}

func (p *poolClient) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	return p.volume(ctx, PoolCall{Method: callClone, Image: id, Volume: spec})
}

func (p *poolClient) volume(ctx context.Context, c PoolCall) (backends.Volume, error) {
	a, err := p.call(ctx, c)
	if err != nil {
		return backends.Volume{}, err
	}
	return a.Volumes[0], nil
}

func (p *poolClient) DeleteVolume(ctx context.Context, ref backends.VolumeRef) error {
	_, err := p.call(ctx, PoolCall{Method: callDeleteVolume, Ref: ref})
	return err
}

func (p *poolClient) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	a, err := p.call(ctx, PoolCall{Method: callSettle, Volume: spec})
	return a.Settled, err
}

// CreateVolume is for copies, which hosts without a file cache never make.
func (*poolClient) CreateVolume(context.Context, backends.VolumeSpec) (backends.VolumeStage, error) {
	return nil, fmt.Errorf("copy to a pool: %w", backends.ErrCannotClone)
}

// poolStage is an image-volume in a pool that is being written. What it holds is counted here, where its room is asked for.
type poolStage struct {
	pool   *poolClient
	handle int
	held   *allot.Count
}

func (s *poolStage) HeldBytes() int64 { return s.held.Bytes() }

func (s *poolStage) WriteAt(b []byte, off int64) (int, error) {
	all := allot.Range{From: off, To: off + int64(len(b))}
	if _, err := s.held.Take(all, all); err != nil {
		return 0, err
	}
	if _, err := s.pool.call(context.Background(), PoolCall{Method: callWrite, Handle: s.handle, Data: b, Off: off}); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *poolStage) Commit(ctx context.Context, final backends.Description) (backends.ImageVolume, error) {
	a, err := s.pool.call(ctx, PoolCall{Method: callCommit, Handle: s.handle, Final: final})
	if err != nil {
		return backends.ImageVolume{}, err
	}
	return a.Images[0], nil
}

func (s *poolStage) Discard(context.Context) error {
	_, err := s.pool.call(context.Background(), PoolCall{Method: callDiscard, Handle: s.handle})
	return err
}
