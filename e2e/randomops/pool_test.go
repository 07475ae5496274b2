package randomops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/rpc"
	"sync"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
)

// A pool is a backend in memory that several processes share, over a socket: what a host of them is killed in stays as it
// is, as in a cluster. It is served by the process of the test.

// method is a call of a pool, named as the method of the backend that it stands for.
type method string

const (
	callIdentify     method = "Identify"
	callHoldFor      method = "HoldFor"
	callTakeOver     method = "TakeOver"
	callStage        method = "Stage"
	callWrite        method = "WriteAt"
	callCommit       method = "Commit"
	callDiscard      method = "Discard"
	callRetire       method = "Retire"
	callReap         method = "Reap"
	callImages       method = "ListImageVolumes"
	callImage        method = "StatImageVolume"
	callRead         method = "OpenImageVolume"
	callStatVolume   method = "StatVolume"
	callVolumes      method = "ListVolumes"
	callDeleteVolume method = "DeleteVolume"
	callSettle       method = "Settle"
	callClone        method = "Clone"
)

// PoolCall is a call with what it needs.
type PoolCall struct {
	Method method
	Image  backends.ImageVolumeID
	Stage  backends.StageSpec // without Room, which its host asks
	Handle int                // of a stage
	Data   []byte
	Off    int64
	Final  backends.Description
	Volume backends.VolumeSpec
	Ref    backends.VolumeRef
	Holder backends.Holder
}

// PoolAnswer is what it came to.
type PoolAnswer struct {
	Sentinel int // of sentinels, from 1; 0: no error, or none of them
	Text     string

	Identity backends.Identity
	Holder   backends.Holder
	Handle   int
	Retired  backends.Retired
	Reaped   backends.Reaped
	Images   []backends.ImageVolume
	Volumes  []backends.Volume
	Settled  backends.Settled
	Data     []byte
}

var sentinels = []error{
	backends.ErrExist, backends.ErrNotExist, backends.ErrNotOurs, backends.ErrNoSpace, backends.ErrLimit, backends.ErrCannotClone,
	backends.ErrTooSmall, backends.ErrTooLarge, backends.ErrBadName, backends.ErrInUse, backends.ErrUnavailable, backends.ErrHeld,
}

func (a *PoolAnswer) fail(err error) {
	a.Text = err.Error()
	for i, known := range sentinels {
		if errors.Is(err, known) {
			a.Sentinel = i + 1
		}
	}
}

func (a *PoolAnswer) err() error {
	switch {
	case a.Sentinel > 0:
		return fmt.Errorf("%s: %w", a.Text, sentinels[a.Sentinel-1])
	case a.Text != "":
		return errors.New(a.Text)
	}
	return nil
}

// Pool serves a backend in memory.
type Pool struct {
	memory *backendtest.Memory

	mu     sync.Mutex
	stages map[int]backends.ImageVolumeStage
	last   int
}

// servePool serves a backend at a socket until the listener is closed.
func servePool(memory *backendtest.Memory, socket string) (io.Closer, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	server := rpc.NewServer()
	if err := server.Register(&Pool{memory: memory, stages: map[int]backends.ImageVolumeStage{}}); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil { // closed
				return
			}
			go server.ServeConn(conn)
		}
	}()
	return l, nil
}

// Call does one call. Errors of the backend are in the answer.
func (p *Pool) Call(c *PoolCall, a *PoolAnswer) error {
	if err := p.do(context.Background(), c, a); err != nil {
		a.fail(err)
	}
	return nil
}

func (p *Pool) do(ctx context.Context, c *PoolCall, a *PoolAnswer) (err error) {
	m := p.memory
	switch c.Method {
	case callIdentify:
		a.Identity, err = m.Identify(ctx)
	case callHoldFor:
		err = m.HoldFor(ctx, c.Holder)
	case callTakeOver:
		a.Holder, err = m.TakeOver(ctx, c.Holder)
	case callStage:
		err = p.stage(ctx, c, a)
	case callWrite, callCommit, callDiscard:
		err = p.onStage(ctx, c, a)
	case callRetire:
		a.Retired, err = m.Retire(ctx, c.Image)
	case callReap:
		a.Reaped, err = m.Reap(ctx)
	case callImages:
		a.Images, err = collect(m.ListImageVolumes(ctx))
	case callImage:
		a.Images = make([]backends.ImageVolume, 1)
		a.Images[0], err = m.StatImageVolume(ctx, c.Image)
	case callRead:
		a.Data, err = p.read(ctx, c.Image)
	default:
		err = p.onVolume(ctx, c, a)
	}
	return err
}

func (p *Pool) onVolume(ctx context.Context, c *PoolCall, a *PoolAnswer) (err error) {
	a.Volumes = make([]backends.Volume, 1)
	switch c.Method {
	case callStatVolume:
		a.Volumes[0], err = p.memory.StatVolume(ctx, c.Ref.Name)
	case callVolumes:
		a.Volumes, err = collect(p.memory.ListVolumes(ctx))
	case callDeleteVolume:
		err = p.memory.DeleteVolume(ctx, c.Ref)
	case callSettle:
		a.Settled, err = p.memory.Settle(ctx, c.Volume)
	case callClone:
		a.Volumes[0], err = p.memory.Clone(ctx, c.Image, c.Volume)
	default:
		err = fmt.Errorf("call %q", c.Method)
	}
	return err
}

func collect[T any](all iter.Seq2[T, error]) (list []T, err error) {
	for one, err := range all {
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func (p *Pool) stage(ctx context.Context, c *PoolCall, a *PoolAnswer) error {
	s, err := p.memory.Stage(ctx, c.Stage)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	a.Handle, p.stages[p.last] = p.last, s
	return nil
}

func (p *Pool) onStage(ctx context.Context, c *PoolCall, a *PoolAnswer) (err error) {
	p.mu.Lock()
	s := p.stages[c.Handle]
	p.mu.Unlock()
	switch c.Method {
	case callWrite:
		_, err = s.WriteAt(c.Data, c.Off)
	case callCommit:
		a.Images = make([]backends.ImageVolume, 1)
		a.Images[0], err = s.Commit(ctx, c.Final)
	default:
		err = s.Discard(ctx)
	}
	return err
}

func (p *Pool) read(ctx context.Context, id backends.ImageVolumeID) ([]byte, error) {
	iv, err := p.memory.StatImageVolume(ctx, id)
	if err != nil {
		return nil, err
	}
	c, err := p.memory.OpenImageVolume(ctx, id)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(io.NewSectionReader(c, 0, iv.VirtualBytes))
}
