package randomops

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// doomedEnv holds the orders of a process that is going to be killed.
const doomedEnv = "RANDOMOPS_DOOMED"

// orders are what such a process does.
type orders struct {
	Dir      string
	Settings settings
	Changes  int
	Batch    []op
	KillAt   int
}

// report is a line that it writes: an operation has begun, or has ended.
type progress struct {
	Begun  int     `json:",omitempty"` // counted from 1
	Result *result `json:",omitempty"`
}

// dieWorking does the batch in this process, which kills itself at the step it was told, or when it has
// done everything.
func dieWorking() error {
	var o orders
	if err := json.Unmarshal([]byte(os.Getenv(doomedEnv)), &o); err != nil {
		return err
	}
	var steps atomic.Int64
	var counting atomic.Bool
	step := func() {
		if counting.Load() && steps.Add(1) == int64(o.KillAt) {
			die()
		}
	}
	w := &world{dir: o.Dir, set: o.Settings, changes: o.Changes, step: step, now: func() time.Time { step(); return time.Now() }}
	ctx := context.Background()
	if err := w.open(ctx); err != nil {
		return err
	}
	counting.Store(true)
	tell := json.NewEncoder(os.Stdout)
	for i, op := range o.Batch {
		if err := tell.Encode(progress{Begun: i + 1}); err != nil {
			return err
		}
		r, err := w.act(ctx, op)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		if err := tell.Encode(progress{Result: &r}); err != nil {
			return err
		}
	}
	die()
	return nil
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

// kill lets another process do a batch of operations until it is killed, and looks at what is left. The
// operation that it was at is repeated.
func (w *world) kill(t *rapid.T, r *run, o op) {
	if err := w.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended, begun, err := w.doomed(o)
	t.Logf("%s\n\t-> %d of %d ended, %d begun: %v", o, len(ended), len(o.Batch), begun, ended)
	if err != nil {
		t.Fatal(err)
	}
	r.model.restarted() // by the other process
	for i, got := range ended {
		w.note(o.Batch[i])
		r.explain(t, o.Batch[i], got)
	}
	if err := w.open(t.Context()); err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	r.tally[fmt.Sprintf("kill: %t that an operation was at it", begun > len(ended))]++
	if begun == len(ended) {
		r.model.restarted()
		r.look(t, op{Do: restart})
		return
	}
	last := o.Batch[begun-1]
	w.note(last)
	r.survive(t, last)
	r.do(t, last)
}

// note keeps count of the images' changes, which the other process made.
func (w *world) note(o op) {
	if o.Do == setImage {
		w.changes += 2
	}
}

// doomed runs the other process.
func (w *world) doomed(o op) (ended []result, begun int, err error) {
	text, err := json.Marshal(orders{w.dir, w.set, w.changes, o.Batch, o.KillAt})
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), doomedEnv+"="+string(text))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); !killed(err) {
		return nil, 0, fmt.Errorf("the process was not killed: %w: %s", err, stderr.String())
	}
	for lines := bufio.NewScanner(&stdout); lines.Scan(); {
		var p progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return nil, 0, err
		}
		if p.Result != nil {
			ended = append(ended, *p.Result)
		} else {
			begun = p.Begun
		}
	}
	return ended, begun, nil
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// survive makes the model what is there after a kill in the middle of an operation: as if it had been
// done, or had not, or had come as far as an eviction or a fill. What is as it is either way must be so.
func (r *run) survive(t *rapid.T, o op) {
	seen, err := r.world.observe(t.Context())
	if err != nil {
		t.Fatalf("after a kill in %s: %v", o, err)
	}
	before, after := r.model, r.model.clone()
	after.do(o, result{At: time.Now()})
	before.restarted()
	after.restarted()
	m, err := between(before, after, seen)
	if err != nil {
		t.Fatalf("after a kill in %s: %v", o, err)
	}
	r.model = m
	if err := m.settle(seen); err != nil {
		t.Fatalf("after a kill in %s: %v", o, err)
	}
	if err := r.world.invariants(t.Context(), m, seen); err != nil {
		t.Fatalf("after a kill in %s: %v", o, err)
	}
}

// between is the model of what was seen, if it lies between two others.
func between(before, after *model, seen observed) (*model, error) {
	m := after.clone()
	for id, e := range before.entries {
		if _, there := seen.entries[id]; there && m.entries[id] == nil { // not evicted yet
			m.entries[id] = e
		}
	}
	if err := m.bind(seen); err != nil {
		return nil, err
	}
	for _, e := range m.all() {
		if _, there := seen.entries[e.id]; !there && before.entries[e.id] == nil {
			delete(m.entries, e.id) // not filled in the end
		}
	}
	for id, e := range before.entries {
		if got, there := seen.entries[id]; there {
			m.entries[id].either(e, got.State == "detached")
		}
	}
	for id, got := range seen.entries {
		e := m.entries[id]
		e.hits, e.pinned, e.touched = got.Hits, got.Pinned, true
	}
	m.keepVolumes(before, seen)
	return m, m.countBetween(before, after, seen)
}

// either is an entry that is as it was or as it should become.
func (e *entry) either(before *entry, detached bool) {
	e.detached, e.lost = detached, e.lost || before.lost
	for key := range e.keys {
		if !before.keys[key] {
			delete(e.keys, key)
			if e.maybe == nil {
				e.maybe = map[catalog.Key]bool{}
			}
			e.maybe[key] = true
		}
	}
}

// keepVolumes lets the volumes be as they are, where that is as they were or as they should become.
func (m *model) keepVolumes(before *model, seen observed) {
	for i, name := range volumeNames {
		was, is := before.volumes[i], m.volumes[i]
		got, there := seen.volumes[name]
		switch {
		case was == nil && is != nil && !there && !is.foreign:
			delete(m.volumes, i)
		case was == nil && is != nil && there:
			is.id = got.VolumeID
			is.entry = got.EntryID
		case was != nil && is == nil && there:
			m.volumes[i] = was
		}
	}
}

// countBetween wants each counter between what it was and what it should become; of bytes, failed fills may
// have read all.
func (m *model) countBetween(before, after *model, seen observed) error {
	for name := range seen.counts {
		low, high := before.counts[name], after.counts[name]
		if name == "downloaded" {
			high += after.mayHaveRead
		}
		low, high = min(low, high), max(low, high)
		if name == "fills" || name == "failed fills" {
			low -= after.mayKnow
		}
		if got := seen.counts[name]; got < low || got > high {
			return fmt.Errorf("report: %s: got %d, want between %d and %d", name, got, low, high)
		}
	}
	m.counts, m.mayHaveRead, m.mayKnow = seen.counts, 0, 0
	return nil
}

// possibilities are the models that may hold: with what a kill left open known, and not known.
func (m *model) possibilities(o op) []*model {
	all := []*model{m.clone()}
	if o.Do != create && o.Do != prefetch || !m.images[o.Image].there {
		return all
	}
	key, _ := m.key(o)
	for id, e := range m.entries {
		if !e.maybe[key] {
			continue
		}
		for _, p := range all {
			known := p.clone()
			known.entries[id].keys[key] = true
			delete(known.entries[id].maybe, key)
			all = append(all, known)
		}
	}
	return all
}

// steppingBackend tells of each step that a backend takes.
type steppingBackend struct {
	*file.Backend
	step func()
}

func (b steppingBackend) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	b.step()
	s, err := b.Backend.Stage(ctx, spec)
	b.step()
	return steppingStage{s, b.step}, err
}

func (b steppingBackend) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	b.step()
	defer b.step()
	return b.Backend.Retire(ctx, id)
}

func (b steppingBackend) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	b.step()
	defer b.step()
	return b.Backend.Clone(ctx, id, spec)
}

func (b steppingBackend) CopyFromFile(ctx context.Context, src *os.File, spec backends.VolumeSpec, p func(int64)) (backends.Volume, backends.CopyMethod, error) {
	b.step()
	defer b.step()
	return b.Backend.CopyFromFile(ctx, src, spec, p)
}

// steppingCache does the same for a file cache.
type steppingCache struct {
	*filecache.Cache
	step func()
}

func (c steppingCache) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	c.step()
	s, err := c.Cache.Stage(ctx, spec)
	c.step()
	return steppingStage{s, c.step}, err
}

func (c steppingCache) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	c.step()
	defer c.step()
	return c.Cache.Retire(ctx, id)
}

type steppingStage struct {
	backends.ImageVolumeStage
	step func()
}

func (s steppingStage) WriteAt(p []byte, off int64) (int, error) {
	s.step()
	return s.ImageVolumeStage.WriteAt(p, off)
}

func (s steppingStage) Commit(ctx context.Context, d backends.Description) (backends.ImageVolume, error) {
	s.step()
	defer s.step()
	return s.ImageVolumeStage.Commit(ctx, d)
}
