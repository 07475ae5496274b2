package backendtest

import (
	"context"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// Method names a call of a backend, or of a stage that it gave out.
type Method string

// The calls that a Faulty can disturb.
const (
	MethodIdentify         Method = "Identify"
	MethodHoldFor          Method = "HoldFor"
	MethodTakeOver         Method = "TakeOver"
	MethodStage            Method = "Stage"
	MethodRetire           Method = "Retire"
	MethodReap             Method = "Reap"
	MethodListImageVolumes Method = "ListImageVolumes"
	MethodCapacity         Method = "Capacity"
	MethodClone            Method = "Clone"
	MethodCreateVolume     Method = "CreateVolume"
	MethodStatVolume       Method = "StatVolume"
	MethodListVolumes      Method = "ListVolumes"
	MethodDeleteVolume     Method = "DeleteVolume"
	MethodSettle           Method = "Settle"
	MethodCopyFromFile     Method = "CopyFromFile"
	MethodWriteAt          Method = "WriteAt"      // of any stage
	MethodCommit           Method = "Commit"       // of an image-volume
	MethodCommitVolume     Method = "CommitVolume" // of a volume
	MethodDiscard          Method = "Discard"      // of any stage
	MethodClose            Method = "Close"
)

// Every as the number of a call means all of them. Otherwise calls of a method count from 1, from the
// making of the Faulty on.
const Every = 0

// Faulty is a backend of which a test lets calls fail, wait or take long. What it is not told to
// disturb goes through. It may be used by several goroutines.
type Faulty struct {
	backend backends.Backend

	mu     sync.Mutex
	calls  map[Method]int
	faults []*fault
}

// fault disturbs the n-th call of a method.
type fault struct {
	method Method
	n      int
	before error         // instead of the call
	after  error         // instead of the answer of a call that was made
	delay  time.Duration // before the call
	hold   *Hold
}

// NewFaulty wraps b.
func NewFaulty(b backends.Backend) *Faulty {
	return &Faulty{backend: b, calls: map[Method]int{}}
}

// FailBefore lets the n-th call of the method answer err, without making it. For a listing the error
// ends it at once.
func (f *Faulty) FailBefore(method Method, n int, err error) {
	f.add(&fault{method: method, n: n, before: err})
}

// FailAfter lets the n-th call of the method be made, and then answer err: the answer is lost, the
// effect is there.
func (f *Faulty) FailAfter(method Method, n int, err error) {
	f.add(&fault{method: method, n: n, after: err})
}

// Delay lets the n-th call of the method begin after d, or answer ctx's error if that is cancelled
// before. Use it in a testing/synctest bubble.
func (f *Faulty) Delay(method Method, n int, d time.Duration) {
	f.add(&fault{method: method, n: n, delay: d})
}

// Hold lets the n-th call of the method wait, before it is made, until it is released, or its ctx is
// cancelled: then it answers ctx's error. (WriteAt has no ctx.)
func (f *Faulty) Hold(method Method, n int) *Hold {
	h := &Hold{reached: make(chan struct{}), released: make(chan struct{})}
	f.add(&fault{method: method, n: n, hold: h})
	return h
}

// Mend ends all disturbance. Calls that wait go on.
func (f *Faulty) Mend() {
	f.mu.Lock()
	faults := f.faults
	f.faults = nil
	f.mu.Unlock()
	for _, fault := range faults {
		if fault.hold != nil {
			fault.hold.Release()
		}
	}
}

// Calls tells how often the method was called.
func (f *Faulty) Calls(method Method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// Hold is a call that waits.
type Hold struct {
	reach, release    sync.Once
	reached, released chan struct{}
}

// Reached is closed once the call waits.
func (h *Hold) Reached() <-chan struct{} { return h.reached }

// Release lets the call go on, or not wait if it comes later. It may be repeated.
func (h *Hold) Release() { h.release.Do(func() { close(h.released) }) }

func (h *Hold) wait(ctx context.Context) error {
	h.reach.Do(func() { close(h.reached) })
	select {
	case <-h.released:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Faulty) add(fault *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fault)
}

// meet counts a call and returns what disturbs it.
func (f *Faulty) meet(method Method) []*fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	var met []*fault
	for _, fault := range f.faults {
		if fault.method == method && (fault.n == Every || fault.n == f.calls[method]) {
			met = append(met, fault)
		}
	}
	return met
}

// call makes a call with its disturbances.
func call[T any](ctx context.Context, f *Faulty, method Method, do func() (T, error)) (T, error) {
	var none T
	faults := f.meet(method)
	for _, fault := range faults {
		if err := fault.begin(ctx); err != nil {
			return none, err
		}
	}
	v, err := do()
	for _, fault := range faults {
		if fault.after != nil {
			return none, fault.after
		}
	}
	return v, err
}

func (f *fault) begin(ctx context.Context) error {
	if f.hold != nil {
		if err := f.hold.wait(ctx); err != nil {
			return err
		}
	}
	if f.delay > 0 {
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.before
}

// list is a listing with its disturbances.
func list[T any](ctx context.Context, f *Faulty, method Method, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		seq, err := call(ctx, f, method, func() (iter.Seq2[T, error], error) { return seq, nil })
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		seq(yield)
	}
}

// CanAdopt implements backends.Adopter, where the wrapped backend does.
func (f *Faulty) CanAdopt() bool {
	a, ok := f.backend.(backends.Adopter)
	return ok && a.CanAdopt()
}

// FaultyCopier is a Faulty of a backend that is a backends.FileCopier.
type FaultyCopier struct {
	*Faulty
	copier backends.FileCopier
}

// CopyBackend is a backend that copies from files.
type CopyBackend interface {
	backends.Backend
	backends.FileCopier
}

// NewFaultyCopier wraps b.
func NewFaultyCopier(b CopyBackend) *FaultyCopier { return &FaultyCopier{NewFaulty(b), b} }

// CopyFromFile implements backends.FileCopier.
func (f *FaultyCopier) CopyFromFile(
	ctx context.Context, src *os.File, spec backends.VolumeSpec, progress func(copied int64),
) (backends.Volume, backends.CopyMethod, error) {
	type copied struct {
		volume backends.Volume
		method backends.CopyMethod
	}
	c, err := call(ctx, f.Faulty, MethodCopyFromFile, func() (c copied, err error) {
		c.volume, c.method, err = f.copier.CopyFromFile(ctx, src, spec, progress)
		return c, err
	})
	return c.volume, c.method, err
}
