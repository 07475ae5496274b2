package scale

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
)

// counting counts what is asked of a backend: the image-volumes that listings had to yield, and calls
// that are about one of them.
type counting struct {
	*backendtest.Memory
	listed atomic.Int64
	calls  atomic.Int64
}

// ListImageVolumes implements backends.Store.
func (c *counting) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return func(yield func(backends.ImageVolume, error) bool) {
		for iv, err := range c.Memory.ListImageVolumes(ctx) {
			c.listed.Add(1)
			if !yield(iv, err) {
				return
			}
		}
	}
}

// Retire implements backends.Store.
func (c *counting) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	c.calls.Add(1)
	return c.Memory.Retire(ctx, id)
}

// Clone implements backends.Backend.
func (c *counting) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	c.calls.Add(1)
	return c.Memory.Clone(ctx, id, spec)
}

// take returns what was counted since the last time.
func (c *counting) take() (listed, calls int64) { return c.listed.Swap(0), c.calls.Swap(0) }
