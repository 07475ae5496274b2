package backendtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

// The suite is worth what it rejects: each backend here breaks one promise, and the check that is named
// for the promise must fail on it.
func TestTheSuiteRejectsBrokenBackends(t *testing.T) {
	checks := map[string]check{}
	for _, c := range backendChecks() {
		checks[c.name] = c
	}
	for _, b := range broken {
		t.Run(b.check+"/"+b.name, func(t *testing.T) {
			c, ok := checks[b.check]
			if !ok {
				t.Fatalf("there is no check %s", b.check)
			}
			r := &recorder{TB: t}
			fake := b.wrap(NewMemory(MemoryConfig{Info: b.info}))
			r.run(func() { c.run(&suite{TB: r, store: fake, b: fake}) })
			if !r.Failed() {
				t.Errorf("%s accepts a backend that %s", b.check, b.name)
			}
			for _, said := range r.said {
				t.Logf("it said: %s", said)
			}
		})
	}
}

// Each check of a promise that a backend can break in memory has a backend that breaks it.
func TestEachCheckRejectsSomeBackend(t *testing.T) {
	for _, c := range backendChecks() {
		if !slices.ContainsFunc(broken, func(b brokenBackend) bool { return b.check == c.name }) {
			t.Errorf("no broken backend is rejected by %s", c.name)
		}
	}
}

// recorder is a testing.TB whose failures are recorded and not the test's.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failed   bool
	said     []string
	cleanups []func()
}

// run runs a check as package testing runs a test.
func (r *recorder) run(check func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		check()
	}()
	<-done
	for _, cleanup := range slices.Backward(r.cleanups) {
		cleanup()
	}
}

func (r *recorder) say(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.said = append(r.said, message)
}

func (r *recorder) Error(args ...any)                 { r.say(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.say(fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any)                 { r.say(fmt.Sprint(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(format string, args ...any) {
	r.say(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// brokenBackend says how a memory backend is broken, and which check finds it.
type brokenBackend struct {
	check string
	name  string
	info  backends.Info
	wrap  func(*Memory) backends.Backend
}

var (
	dependentInfo   = backends.Info{CanClone: true, CloneMethod: "memory"}
	independentInfo = backends.Info{CanClone: true, CloneMethod: "memory", IndependentClones: true}
	cloneless       = backends.Info{NoClone: "none wanted"}
)

// fake is a Memory of which some calls are replaced.
type fake struct {
	*Memory
	info         func() backends.Info
	capacity     func() (backends.Capacity, error)
	stage        func(context.Context, backends.StageSpec) (backends.ImageVolumeStage, error)
	retire       func(context.Context, backends.ImageVolumeID) (backends.Retired, error)
	reap         func(context.Context) (backends.Reaped, error)
	openImage    func(context.Context, backends.ImageVolumeID) (backends.ImageVolumeContent, error)
	statImage    func(context.Context, backends.ImageVolumeID) (backends.ImageVolume, error)
	listImages   func(context.Context) iter.Seq2[backends.ImageVolume, error]
	clone        func(context.Context, backends.ImageVolumeID, backends.VolumeSpec) (backends.Volume, error)
	createVolume func(context.Context, backends.VolumeSpec) (backends.VolumeStage, error)
	statVolume   func(context.Context, backends.VolumeName) (backends.Volume, error)
	listVolumes  func(context.Context) iter.Seq2[backends.Volume, error]
	deleteVolume func(context.Context, backends.VolumeRef) error
	checkName    func(backends.VolumeName) error
	settle       func(context.Context, backends.VolumeSpec) (backends.Settled, error)
}

func (f fake) CheckVolumeName(name backends.VolumeName) error {
	if f.checkName != nil {
		return f.checkName(name)
	}
	return f.Memory.CheckVolumeName(name)
}

func (f fake) Info() backends.Info {
	if f.info != nil {
		return f.info()
	}
	return f.Memory.Info()
}

func (f fake) Capacity(ctx context.Context) (backends.Capacity, error) {
	if f.capacity != nil {
		return f.capacity()
	}
	return f.Memory.Capacity(ctx)
}

func (f fake) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	if f.stage != nil {
		return f.stage(ctx, spec)
	}
	return f.Memory.Stage(ctx, spec)
}

func (f fake) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	if f.retire != nil {
		return f.retire(ctx, id)
	}
	return f.Memory.Retire(ctx, id)
}

func (f fake) Reap(ctx context.Context) (backends.Reaped, error) {
	if f.reap != nil {
		return f.reap(ctx)
	}
	return f.Memory.Reap(ctx)
}

// forgetfulContent forgets data behind the first.
type forgetfulContent struct{ content }

func (c forgetfulContent) NextData(ctx context.Context, off int64) (from, to int64, err error) {
	if off > 0 {
		return c.size, c.size, nil
	}
	return c.content.NextData(ctx, off)
}

func (f fake) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	if f.openImage != nil {
		return f.openImage(ctx, id)
	}
	return f.Memory.OpenImageVolume(ctx, id)
}

func (f fake) StatImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	if f.statImage != nil {
		return f.statImage(ctx, id)
	}
	return f.Memory.StatImageVolume(ctx, id)
}

func (f fake) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	if f.listImages != nil {
		return f.listImages(ctx)
	}
	return f.Memory.ListImageVolumes(ctx)
}

func (f fake) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	if f.clone != nil {
		return f.clone(ctx, id, spec)
	}
	return f.Memory.Clone(ctx, id, spec)
}

func (f fake) CreateVolume(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
	if f.createVolume != nil {
		return f.createVolume(ctx, spec)
	}
	return f.Memory.CreateVolume(ctx, spec)
}

func (f fake) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	if f.statVolume != nil {
		return f.statVolume(ctx, name)
	}
	return f.Memory.StatVolume(ctx, name)
}

func (f fake) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	if f.listVolumes != nil {
		return f.listVolumes(ctx)
	}
	return f.Memory.ListVolumes(ctx)
}

func (f fake) DeleteVolume(ctx context.Context, ref backends.VolumeRef) error {
	if f.deleteVolume != nil {
		return f.deleteVolume(ctx, ref)
	}
	return f.Memory.DeleteVolume(ctx, ref)
}

func (f fake) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	if f.settle != nil {
		return f.settle(ctx, spec)
	}
	return f.Memory.Settle(ctx, spec)
}

// fakeImageStage is an image-volume's stage of which some calls are replaced.
type fakeImageStage struct {
	*memoryImageStage
	writeAt func([]byte, int64) (int, error)
	held    func() int64
	commit  func(context.Context, backends.Description) (backends.ImageVolume, error)
	discard func(context.Context) error
}

func (s fakeImageStage) WriteAt(p []byte, off int64) (int, error) {
	if s.writeAt != nil {
		return s.writeAt(p, off)
	}
	return s.memoryImageStage.WriteAt(p, off)
}

func (s fakeImageStage) HeldBytes() int64 {
	if s.held != nil {
		return s.held()
	}
	return s.memoryImageStage.HeldBytes()
}

func (s fakeImageStage) Commit(ctx context.Context, d backends.Description) (backends.ImageVolume, error) {
	if s.commit != nil {
		return s.commit(ctx, d)
	}
	return s.memoryImageStage.Commit(ctx, d)
}

func (s fakeImageStage) Discard(ctx context.Context) error {
	if s.discard != nil {
		return s.discard(ctx)
	}
	return s.memoryImageStage.Discard(ctx)
}

// withImageStage is a backend whose stages of image-volumes are broken.
func withImageStage(breakIt func(*fakeImageStage)) func(*Memory) backends.Backend {
	return func(m *Memory) backends.Backend {
		return fake{Memory: m, stage: func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			s, err := m.Stage(ctx, spec)
			if err != nil {
				return nil, err
			}
			broken := fakeImageStage{memoryImageStage: s.(*memoryImageStage)}
			breakIt(&broken)
			return broken, nil
		}}
	}
}

// fakeVolumeStage is a volume's stage of which some calls are replaced.
type fakeVolumeStage struct {
	*memoryVolumeStage
	writeAt func([]byte, int64) (int, error)
	commit  func(context.Context) (backends.Volume, error)
	discard func(context.Context) error
}

func (s fakeVolumeStage) WriteAt(p []byte, off int64) (int, error) {
	if s.writeAt != nil {
		return s.writeAt(p, off)
	}
	return s.memoryVolumeStage.WriteAt(p, off)
}

func (s fakeVolumeStage) Commit(ctx context.Context) (backends.Volume, error) {
	if s.commit != nil {
		return s.commit(ctx)
	}
	return s.memoryVolumeStage.Commit(ctx)
}

func (s fakeVolumeStage) Discard(ctx context.Context) error {
	if s.discard != nil {
		return s.discard(ctx)
	}
	return s.memoryVolumeStage.Discard(ctx)
}

func withVolumeStage(breakIt func(*fakeVolumeStage)) func(*Memory) backends.Backend {
	return func(m *Memory) backends.Backend {
		return fake{Memory: m, createVolume: func(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
			s, err := m.CreateVolume(ctx, spec)
			if err != nil {
				return nil, err
			}
			broken := fakeVolumeStage{memoryVolumeStage: s.(*memoryVolumeStage)}
			breakIt(&broken)
			return broken, nil
		}}
	}
}

// with is a backend that is broken in its own calls.
func with(breakIt func(*fake)) func(*Memory) backends.Backend {
	return func(m *Memory) backends.Backend {
		f := fake{Memory: m}
		breakIt(&f)
		return f
	}
}

// fakeCopier is a Memory that copies from files, and can be broken.
type fakeCopier struct {
	*Memory
	copy func(ctx context.Context, src *os.File, spec backends.VolumeSpec, progress func(int64)) (backends.Volume, error)
}

func (f fakeCopier) CopyFromFile(
	ctx context.Context, src *os.File, spec backends.VolumeSpec, progress func(int64),
) (backends.Volume, backends.CopyMethod, error) {
	v, err := f.copy(ctx, src, spec, progress)
	return v, backends.CopiedByWriting, err
}

// copyTo makes the volume that spec asks for from a file, without looking at anything.
func copyTo(m *Memory, src *os.File, spec backends.VolumeSpec) (backends.Volume, error) {
	data, err := io.ReadAll(io.NewSectionReader(src, 0, spec.SizeBytes))
	if err != nil {
		return backends.Volume{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.add(spec, sparse{})
	v.pages.writeAt(data, 0)
	return v.volume, nil
}

var errBroken = errors.New("broken on purpose")
