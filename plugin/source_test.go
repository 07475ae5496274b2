package plugin_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// gatedSource serves images from memory. Its streams stop in the middle until the gate is opened.
type gatedSource struct {
	mu     sync.Mutex
	images map[string]imagesource.Image
	bytes  map[string][]byte

	opened atomic.Int64
	half   chan struct{} // gets a value whenever a stream has come to its middle
	gate   chan struct{} // closed: streams go on
}

func newGatedSource() *gatedSource {
	return &gatedSource{
		images: make(map[string]imagesource.Image), bytes: make(map[string][]byte),
		half: make(chan struct{}, 1000), gate: make(chan struct{}),
	}
}

func (s *gatedSource) Name() string { return "gated" }

// put adds or changes an image.
func (s *gatedSource) put(id, revision string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images[id] = imagesource.Image{Source: "gated", ID: id, Revision: revision, SizeBytes: int64(len(content)), DiskFormat: "raw", ClaimedBy: imagesource.ByService}
	s.bytes[id] = content
}

// promise sets the digest that the source claims for an image.
func (s *gatedSource) promise(id string, d imagesource.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	i.Digest = d
	s.images[id] = i
}

func (s *gatedSource) Stat(_ context.Context, id string) (imagesource.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.images[id]
	if !ok {
		return imagesource.Image{}, imagesource.ErrNotFound
	}
	return i, nil
}

func (s *gatedSource) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	s.mu.Lock()
	content := s.bytes[i.ID]
	s.mu.Unlock()
	s.opened.Add(1)
	middle := len(content) / 2
	return &gatedStream{ctx: ctx, s: s, Reader: io.MultiReader(
		bytes.NewReader(content[:middle]), &gate{ctx: ctx, s: s}, bytes.NewReader(content[middle:]),
	)}, nil
}

type gatedStream struct {
	io.Reader
	ctx context.Context
	s   *gatedSource
}

func (*gatedStream) Close() error { return nil }

// gate is an empty reader that ends once the source's gate is open.
type gate struct {
	ctx context.Context
	s   *gatedSource
}

func (g *gate) Read([]byte) (int, error) {
	g.s.half <- struct{}{}
	select {
	case <-g.s.gate:
		return 0, io.EOF
	case <-g.ctx.Done():
		return 0, g.ctx.Err()
	}
}

// claimSize makes the source lie about an image's length.
func (s *gatedSource) claimSize(id string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	i.SizeBytes = size
	s.images[id] = i
}

// tellVirtual sets what the source says of the disk in an image.
func (s *gatedSource) tellVirtual(id string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	i.VirtualBytes = size
	s.images[id] = i
}

// locate sets where the source says that an image lies.
func (s *gatedSource) locate(id, location string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	i.Location = location
	s.images[id] = i
}

// declare sets the format that the source claims for an image.
func (s *gatedSource) declare(id, format string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	i.DiskFormat = format
	s.images[id] = i
}
