// Package late stands for a backend or a file cache that cannot be opened yet: its filesystem is not mounted
// or read-only, its directory may not be read, its cluster refuses the user. It keeps trying, and is the
// opened one from then on. Until then every call answers backends.ErrUnavailable with the reason.
//
// The package decides nothing and keeps nothing: an opener that fails must leave nothing open. Optional
// capabilities are those of what is opened (backends.Capability).
package late

import (
	"context"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// The pauses between attempts: the first one, twice as long each time, and the longest.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// Config says what is opened. Info, Open and Why are required.
type Config[S backends.Store] struct {
	// Info is what is known of the store before it is opened. Once it is, it says itself what it is.
	Info backends.Info
	// Open opens the store. It is called by one goroutine, until it succeeds or ctx ends.
	Open func(ctx context.Context) (S, error)
	// Why is the error of the attempt before.
	Why error
	// Opened, if not nil, is called once with what was opened, which is in use by then.
	Opened func(S)
	// Failed, if not nil, is called with the error of each attempt whose reason is another than before.
	Failed func(error)
	// After is how a pause is waited for. Default: time.After.
	After func(time.Duration) <-chan time.Time
}

// attempt keeps trying to open one store.
type attempt[S backends.Store] struct {
	c      Config[S]
	opened atomic.Pointer[S]
	why    atomic.Pointer[downError]
	end    context.CancelFunc
	ended  sync.WaitGroup
}

// downError is backends.ErrUnavailable, and of the cause only its words: a cause such as "in use" would
// otherwise be taken for what became of a call.
type downError struct{ cause error }

func (e *downError) Error() string { return "it cannot be opened: " + e.cause.Error() }
func (*downError) Unwrap() error   { return backends.ErrUnavailable }

func begin[S backends.Store](c Config[S]) *attempt[S] {
	if c.After == nil {
		c.After = time.After
	}
	ctx, end := context.WithCancel(context.Background())
	a := &attempt[S]{c: c, end: end}
	a.why.Store(&downError{c.Why})
	a.ended.Go(func() { a.keepTrying(ctx) })
	return a
}

func (a *attempt[S]) keepTrying(ctx context.Context) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		select {
		case <-ctx.Done():
			return
		case <-a.c.After(pause):
		}
		s, err := a.c.Open(ctx)
		switch {
		case ctx.Err() != nil && err != nil:
			return
		case err != nil:
			before := a.why.Swap(&downError{err})
			if a.c.Failed != nil && before.cause.Error() != err.Error() {
				a.c.Failed(err)
			}
			continue
		}
		a.opened.Store(&s)
		if a.c.Opened != nil {
			a.c.Opened(s)
		}
		return
	}
}

// store is what was opened; backends.ErrUnavailable before that.
func (a *attempt[S]) store() (S, error) {
	if s := a.opened.Load(); s != nil {
		return *s, nil
	}
	var none S
	return none, a.why.Load()
}

// Down implements backends.Late.
func (a *attempt[S]) Down() error {
	_, err := a.store()
	return err
}

// Opened implements backends.Late.
func (a *attempt[S]) Opened() (backends.Store, bool) {
	s, err := a.store()
	return s, err == nil
}

// Info implements backends.Store.
func (a *attempt[S]) Info() backends.Info {
	if s, err := a.store(); err == nil {
		return s.Info()
	}
	return a.c.Info
}

// Identify implements backends.Belonging.
func (a *attempt[S]) Identify(ctx context.Context) (backends.Identity, error) {
	s, err := a.store()
	if err != nil {
		return backends.Identity{}, err
	}
	return s.Identify(ctx)
}

// HoldFor implements backends.Belonging.
func (a *attempt[S]) HoldFor(ctx context.Context, h backends.Holder) error {
	s, err := a.store()
	if err != nil {
		return err
	}
	return s.HoldFor(ctx, h)
}

// TakeOver implements backends.Belonging.
func (a *attempt[S]) TakeOver(ctx context.Context, h backends.Holder) (backends.Holder, error) {
	s, err := a.store()
	if err != nil {
		return backends.Holder{}, err
	}
	return s.TakeOver(ctx, h)
}

// Stage implements backends.Store.
func (a *attempt[S]) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	s, err := a.store()
	if err != nil {
		return nil, err
	}
	return s.Stage(ctx, spec)
}

// Retire implements backends.Store.
func (a *attempt[S]) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	s, err := a.store()
	if err != nil {
		return backends.Retired{}, err
	}
	return s.Retire(ctx, id)
}

// Reap implements backends.Store.
func (a *attempt[S]) Reap(ctx context.Context) (backends.Reaped, error) {
	s, err := a.store()
	if err != nil {
		return backends.Reaped{}, err
	}
	return s.Reap(ctx)
}

// ListImageVolumes implements backends.Store.
func (a *attempt[S]) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	s, err := a.store()
	if err != nil {
		return func(yield func(backends.ImageVolume, error) bool) { yield(backends.ImageVolume{}, err) }
	}
	return s.ListImageVolumes(ctx)
}

// Capacity implements backends.Store.
func (a *attempt[S]) Capacity(ctx context.Context) (backends.Capacity, error) {
	s, err := a.store()
	if err != nil {
		return backends.Capacity{}, err
	}
	return s.Capacity(ctx)
}

// Close ends the attempts, and closes what was opened.
func (a *attempt[S]) Close() error {
	a.end()
	a.ended.Wait()
	if s := a.opened.Load(); s != nil {
		return (*s).Close()
	}
	return nil
}

// Backend is a backend that is opened late. It implements backends.Backend and backends.Late.
type Backend struct{ *attempt[backends.Backend] }

var (
	_ backends.Backend = Backend{}
	_ backends.Late    = Backend{}
)

// NewBackend begins to try. Close ends that.
func NewBackend(c Config[backends.Backend]) Backend { return Backend{begin(c)} }

// Clone implements backends.Backend.
func (b Backend) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	s, err := b.store()
	if err != nil {
		return backends.Volume{}, err
	}
	return s.Clone(ctx, id, spec)
}

// CreateVolume implements backends.Volumes.
func (b Backend) CreateVolume(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
	s, err := b.store()
	if err != nil {
		return nil, err
	}
	return s.CreateVolume(ctx, spec)
}

// StatVolume implements backends.Volumes.
func (b Backend) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	s, err := b.store()
	if err != nil {
		return backends.Volume{}, err
	}
	return s.StatVolume(ctx, name)
}

// ListVolumes implements backends.Volumes.
func (b Backend) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	s, err := b.store()
	if err != nil {
		return func(yield func(backends.Volume, error) bool) { yield(backends.Volume{}, err) }
	}
	return s.ListVolumes(ctx)
}

// DeleteVolume implements backends.Volumes.
func (b Backend) DeleteVolume(ctx context.Context, ref backends.VolumeRef) error {
	s, err := b.store()
	if err != nil {
		return err
	}
	return s.DeleteVolume(ctx, ref)
}

// Settle implements backends.Volumes.
func (b Backend) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	s, err := b.store()
	if err != nil {
		return 0, err
	}
	return s.Settle(ctx, spec)
}

// ImageOpener is what a file cache is beside a store.
type ImageOpener interface {
	backends.Store
	OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error)
}

// FileCache is a file cache that is opened late. It implements backends.Store and backends.Late.
type FileCache struct{ *attempt[ImageOpener] }

var _ backends.Late = FileCache{}

// NewFileCache begins to try. Close ends that.
func NewFileCache(c Config[ImageOpener]) FileCache { return FileCache{begin(c)} }

// OpenImage opens a committed image for reading; backends.ErrUnavailable as long as the cache is not open.
func (f FileCache) OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error) {
	s, err := f.store()
	if err != nil {
		return nil, backends.ImageVolume{}, err
	}
	return s.OpenImage(ctx, id)
}
