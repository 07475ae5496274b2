package randomops

import (
	"context"
	"flag"
	"os"
	"strconv"
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
	operations = setting(t, "OPS", operations, strconv.Atoi)
	until := time.Now().Add(setting(t, "SOAK", 0, time.ParseDuration))
	long := os.Getenv("SOAK") != ""
	first := setting(t, "SEED", 1, strconv.Atoi)
	for name, value := range map[string]string{"rapid.checks": "1", "rapid.steps": strconv.Itoa(sequence), "rapid.nofailfile": "true", "rapid.shrinktime": "20s"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	done := 0
	for seed := first; ; seed++ {
		if err := flag.Set("rapid.seed", strconv.Itoa(seed)); err != nil {
			t.Fatal(err)
		}
		ok := t.Run("seed="+strconv.Itoa(seed), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				r := begin(rt)
				rt.Repeat(map[string]func(*rapid.T){"operation": func(t *rapid.T) { r.next(t); done++ }})
			})
		})
		if !ok {
			t.Fatalf("repeat with SEED=%d", seed)
		}
		if os.Getenv("SEED") != "" || !long && done >= operations || long && time.Now().After(until) {
			t.Logf("%d operations, seeds %d to %d", done, first, seed)
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

// run is one sequence of operations: the world, and the model beside it.
type run struct {
	world *world
	model *model
	mix   []share
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
	for image := range imageNames[:3] {
		r.do(t, op{Do: setImage, Image: image, Content: image * 2, Promised: -1})
	}
	r.do(t, op{Do: setImage, Image: 3, Content: 2, Promised: 2})
	return r
}

// next does an operation that is drawn.
func (r *run) next(t *rapid.T) {
	o := drawOp(r.mix).Draw(t, "op")
	switch o.Do {
	case repeat:
		v := r.model.volumes[o.Volume]
		if v == nil || v.foreign {
			return
		}
		o = v.request
	case kill:
		r.kill(t, o)
		return
	}
	r.do(t, o)
}

// do does an operation in the world and in the model, and compares.
func (r *run) do(t *rapid.T, o op) {
	got, err := r.world.act(t.Context(), o)
	t.Logf("%s\n\t-> %s", o, got)
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
