package backendtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// MemoryConfig says how a memory backend behaves. The zero value is a backend that clones, and whose
// clones depend on their image-volumes, of unlimited size.
type MemoryConfig struct {
	// Info it declares; a zero Info is one that clones. Where Info.IndependentClones is set, Retire
	// never detaches. Info.Paths is not supported.
	Info backends.Info

	CapacityBytes int64 // 0: unknown, never full
	CloneLimit    int   // clones per image-volume; 0: no limit
	Adopts        bool  // Stage takes StageSpec.Adopt; MakeOwned makes what is adopted
	Now           func() time.Time
}

// Memory is a backend that keeps everything in memory: the reference that the suite is tried on, and a
// real, quick backend for the tests of those who use one. It may be used by several goroutines.
type Memory struct {
	config MemoryConfig

	id backends.StoreID

	mu      sync.Mutex
	holder  backends.Holder
	images  map[backends.ImageVolumeID]*memoryImage
	volumes map[backends.VolumeName]*memoryVolume
	lastID  int
	closed  bool
}

type memoryImage struct {
	state       backends.ImageVolumeState
	bytes       int64
	pages       sparse
	description backends.Description
	clones      map[*memoryVolume]bool // that depend on it
	adopted     *memoryVolume          // whose content it is; nil: its own
	watchers    int                    // that have it open
}

type memoryVolume struct {
	volume backends.Volume
	pages  sparse
	ours   bool
	used   int                    // by how many somebodies it is open, or has a snapshot
	wrote  bool                   // somebody has written to it
	image  backends.ImageVolumeID // that has adopted it; empty: none
}

var (
	_ backends.Backend           = (*Memory)(nil)
	_ backends.ImageVolumeReader = (*Memory)(nil)
	_ backends.Flattener         = (*Memory)(nil)
)

// NewMemory returns an empty backend.
func NewMemory(config MemoryConfig) *Memory {
	if config.Info == (backends.Info{}) {
		config.Info = backends.Info{CanClone: true, CloneMethod: "memory"}
	}
	if config.Info.Kind == "" {
		config.Info.Kind = "memory"
	}
	if config.Info.Location == "" {
		config.Info.Location = "memory"
	}
	if !config.Info.CanClone && config.Info.NoClone == "" {
		config.Info.NoClone = "this memory backend was made without clones"
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Memory{
		config:  config,
		id:      backends.StoreID(rand.Text()),
		images:  map[backends.ImageVolumeID]*memoryImage{},
		volumes: map[backends.VolumeName]*memoryVolume{},
	}
}

// Info implements backends.Store.
func (m *Memory) Info() backends.Info { return m.config.Info }

// Close implements backends.Store. Everything is still there for the test to look at.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// enter locks the backend for one operation.
func (m *Memory) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, fmt.Errorf("memory backend is closed: %w", backends.ErrUnavailable)
	}
	return m.mu.Unlock, nil
}

// Capacity implements backends.Store.
func (m *Memory) Capacity(ctx context.Context) (backends.Capacity, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return backends.Capacity{}, err
	}
	defer leave()
	if m.config.CapacityBytes == 0 {
		return backends.Capacity{}, nil
	}
	return backends.Capacity{TotalBytes: m.config.CapacityBytes, FreeBytes: m.free()}, nil
}

// free is what is left of the capacity: pages that are shared count once.
func (m *Memory) free() int64 {
	pages := map[*byte]bool{}
	count := func(s sparse) {
		for _, page := range s {
			pages[&page[0]] = true
		}
	}
	for _, image := range m.images {
		count(image.pages)
	}
	for _, volume := range m.volumes {
		count(volume.pages)
	}
	return max(0, m.config.CapacityBytes-int64(len(pages))*pageBytes)
}

// room refuses n more bytes than there are.
func (m *Memory) room(n int) error {
	if m.config.CapacityBytes > 0 && m.free() < int64(n) {
		return backends.ErrNoSpace
	}
	return nil
}
