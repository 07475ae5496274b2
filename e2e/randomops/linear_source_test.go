package randomops

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// fillRecorder records the fills of a history, as the plugin tells of them.
type fillRecorder struct {
	store backends.Name
	clock *atomic.Int64

	mu     sync.Mutex
	starts []int64 // of fills that have not ended: one at a time, since there is one image
	fills  []porcupine.Operation
}

func (f *fillRecorder) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts, f.fills = nil, nil
}

func (f *fillRecorder) end(client int) []porcupine.Operation {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.fills {
		f.fills[i].ClientId = client
	}
	return f.fills
}

func (f *fillRecorder) FillStarted(store backends.Name) {
	if store != f.store {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, f.clock.Add(1))
}

func (f *fillRecorder) FillSpent(backends.Name, catalog.FillPhases) {}

func (f *fillRecorder) FillEnded(store backends.Name, _ time.Duration, err error) {
	if store != f.store {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fills = append(f.fills, porcupine.Operation{
		Input: input{action: filling}, Call: f.starts[0], Output: output{done: err == nil}, Return: f.clock.Add(1),
	})
	f.starts = f.starts[1:]
}

func (*fillRecorder) Request(backends.Name, plugin.Outcome, plugin.Reason, time.Duration) {}
func (*fillRecorder) RequestError(backends.Name, error)                                   {}
func (*fillRecorder) Downloaded(backends.Name, int64)                                     {}
func (*fillRecorder) Saved(backends.Name, int64)                                          {}
func (*fillRecorder) Evicted(backends.Name, string, int64)                                {}

// versions is a source whose images change under their readers.
type versions struct {
	mu    sync.Mutex
	bytes map[string][]int // the versions of an image, the latest last
}

// content is 64 KiB that tell their version throughout.
func content(version int) []byte { return bytes.Repeat([]byte{byte(version)}, 64<<10) }

func (*versions) Name() string { return "versions" }

func (s *versions) change(image string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes[image] = append(s.bytes[image], version)
}

func (s *versions) latest(image string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.bytes[image]
	return all[len(all)-1]
}

func (s *versions) Stat(_ context.Context, id string) (imagesource.Image, error) {
	v := s.latest(id)
	return imagesource.Image{Source: "versions", ID: id, Revision: strconv.Itoa(v), SizeBytes: 64 << 10, DiskFormat: "raw"}, nil
}

func (s *versions) Open(_ context.Context, i imagesource.Image) (io.ReadCloser, error) {
	v := s.latest(i.ID)
	if strconv.Itoa(v) != i.Revision {
		return nil, imagesource.ErrChanged
	}
	return io.NopCloser(bytes.NewReader(content(v))), nil
}
