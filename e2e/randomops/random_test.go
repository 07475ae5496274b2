package randomops

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
)

// sequence is how many operations follow one another on average before another world begins.
const sequence = 100

func TestRandomOperationsOnFiles(t *testing.T) {
	mount := fstest.Mount(t, fstest.XFS, 1<<30)
	soak(t, 6_000, func(t *rapid.T) *run {
		return newRun(t, mount, nil, mix)
	})
}

func TestRandomOperationsInMemory(t *testing.T) {
	mount := fstest.Mount(t, fstest.XFS, 1<<30) // of the file cache
	soak(t, 4_000, func(t *rapid.T) *run {
		memory := backendtest.NewMemory(backendtest.MemoryConfig{CloneLimit: cloneLimit})
		return newRun(t, mount, memory, memoryMix)
	})
}

// soak goes through sequences, one seed each, until so many operations were done; OPS sets another
// number, SOAK a time instead, and SEED the one seed to try.
func soak(t *testing.T, operations int, begin func(*rapid.T) *run) {
	if testing.Short() {
		t.Skip("-short: random operations are left out")
	}
	operations = setting(t, "OPS", operations/slower, strconv.Atoi)
	until := time.Now().Add(setting(t, "SOAK", 0, time.ParseDuration) / 3) // for each of three tests
	long := os.Getenv("SOAK") != ""
	first := setting(t, "SEED", 1, strconv.Atoi)
	for name, value := range map[string]string{"rapid.checks": "1", "rapid.steps": strconv.Itoa(sequence), "rapid.nofailfile": "true", "rapid.shrinktime": "20s"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	done, seen := 0, tally{}
	for seed := first; ; seed++ {
		if err := flag.Set("rapid.seed", strconv.Itoa(seed)); err != nil {
			t.Fatal(err)
		}
		ok := t.Run("seed="+strconv.Itoa(seed), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				r := begin(rt)
				r.tally = seen
				rt.Repeat(map[string]func(*rapid.T){"operation": func(t *rapid.T) { r.next(t); done++ }})
				r.world.settled(rt, r)
			})
		})
		if !ok {
			t.Fatalf("repeat with SEED=%d", seed)
		}
		if os.Getenv("SEED") != "" || !long && done >= operations || long && time.Now().After(until) {
			t.Logf("%d operations, seeds %d to %d\n%s", done, first, seed, seen)
			return
		}
	}
}

// setting is an environment variable's value.
func setting[V any](t *testing.T, name string, value V, parse func(string) (V, error)) V {
	text := os.Getenv(name)
	if text == "" {
		return value
	}
	value, err := parse(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return value
}

// stage is where operations are done.
type stage interface {
	act(context.Context, op) (result, error)
	observe(context.Context) (observed, error)
	invariants(context.Context, *model, observed) error
	kill(*rapid.T, *run, op)
	settled(*rapid.T, *run) // at the end
}

// run is one sequence of operations: the world, and the model beside it.
type run struct {
	world stage
	model *model
	mix   []share
	tally tally
	hosts int // that may be asked
}

// tally counts what operations came to, so that one can see what a run has tried.
type tally map[string]int

func (t tally) String() string {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&lines, "%6d %s\n", t[name], name)
	}
	return lines.String()
}

func (t tally) add(o op, r result) {
	switch {
	case t == nil: // preparing
	case o.Do == harm:
		t["harm: "+string(o.Harm)]++
	case r.Err != "":
		t[string(o.Do)+": "+string(r.Err)]++
	case o.Do == create:
		t[fmt.Sprintf("create: %s, %s", r.Outcome, r.Reason)]++
	default:
		t[string(o.Do)]++
	}
}

func newRun(t *rapid.T, below string, memory *backendtest.Memory, mix []share) *run {
	dir, err := os.MkdirTemp(below, "randomops-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w, err := newWorld(t.Context(), dir, memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	r := &run{world: w, model: newModel(memory != nil), mix: mix}
	r.prepare(t)
	return r
}

// prepare makes the images.
func (r *run) prepare(t *rapid.T) {
	for image := range imageNames[:3] {
		r.do(t, op{Do: setImage, Image: image, Content: image * 2, Promised: -1})
	}
	r.do(t, op{Do: setImage, Image: 3, Content: 2, Promised: 2})
	r.do(t, op{Do: setImage, Image: 4, Content: 5, Promised: 5})
}

// next does an operation that is drawn.
func (r *run) next(t *rapid.T) {
	o := drawOp(r.mix).Draw(t, "op")
	if r.hosts > 1 {
		o = o.on(uniform(r.hosts).Draw(t, "host"))
		for i := range o.Batch {
			o.Batch[i] = o.Batch[i].on(o.Host)
		}
	}
	if o.Do == kill {
		for i := range o.Batch {
			o.Batch[i] = r.model.aim(o.Batch[i])
		}
		r.world.kill(t, r, o)
		return
	}
	host := o.Host
	o = r.model.aim(o)
	o.Host = host
	r.do(t, o)
}

// on is the operation on one of several hosts, which have no store but the shared one.
func (o op) on(host int) op {
	o.Host, o.Store = host, 0
	return o
}

// aim turns an operation to something that is there, since most would miss.
func (m *model) aim(o op) op {
	switch o.Do {
	case create:
		if m.volumes[o.Volume] != nil && !o.Taken {
			return m.aimBeside(o)
		}
	case repeat:
		if v := m.volumes[o.Volume]; v != nil && !v.foreign {
			return v.request
		}
		return op{Do: create, Volume: o.Volume, Size: auto}
	case evict, pin, unpin, loseImage:
		var there []*entry
		for _, e := range m.all() {
			if e.store == o.Store && !e.detached {
				there = append(there, e)
			}
		}
		if len(there) > 0 {
			o.Content = there[o.Content%len(there)].content
		}
	default:
	}
	return o
}

// aimBeside lets a volume be made under a name that is free; where there is none, it makes one free.
func (m *model) aimBeside(o op) op {
	for i := range volumeNames {
		if name := (o.Volume + i) % len(volumeNames); m.volumes[name] == nil {
			o.Volume = name
			return o
		}
	}
	return op{Do: deleteVolume, Volume: o.Volume}
}

// do does an operation in the world and in the model, and compares.
func (r *run) do(t *rapid.T, o op) {
	got, err := r.world.act(t.Context(), o)
	t.Logf("%s\n\t-> %s", o, got)
	r.tally.add(o, got)
	if err != nil {
		t.Fatalf("%s: %v", o, err)
	}
	r.explain(t, o, got)
	r.look(t, o)
}

// explain lets the model do the operation. Where a kill has left open what is known, what happened
// decides.
func (r *run) explain(t *rapid.T, o op, got result) {
	var first error
	for _, m := range r.model.possibilities(o) {
		err := m.apply(o, got)
		if err == nil {
			r.model = m
			return
		}
		if first == nil {
			first = err
		}
	}
	t.Fatalf("%s: %v", o, first)
}

// look compares what is there with the model, and looks at the invariants.
func (r *run) look(t *rapid.T, after op) {
	seen, err := r.world.observe(t.Context())
	if err != nil {
		t.Fatalf("after %s: %v", after, err)
	}
	err = r.model.settle(seen)
	if err != nil && after.Do == harm {
		r.model.rebuilt(seen)
		err = r.model.settle(seen)
	}
	if err != nil {
		t.Fatalf("after %s: %v", after, err)
	}
	if err := r.world.invariants(t.Context(), r.model, seen); err != nil {
		t.Fatalf("after %s: %v", after, err)
	}
}
