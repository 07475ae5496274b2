package backendtest_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	kinds := map[string]backends.Info{
		"dependent clones":   {CanClone: true, CloneMethod: "memory"},
		"independent clones": {CanClone: true, CloneMethod: "memory", IndependentClones: true},
		"no clones":          {NoClone: "none wanted", IndependentClones: true},
	}
	for name, info := range kinds {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(testing.TB) backends.Backend {
				return backendtest.NewMemory(backendtest.MemoryConfig{Info: info})
			})
		})
	}
}

func TestMemoryThatAdoptsKeepsTheContract(t *testing.T) {
	backendtest.Run(t, func(testing.TB) backends.Backend {
		return backendtest.NewMemory(backendtest.MemoryConfig{Adopts: true})
	})
}

func TestMemoryKeepsTheStoreContract(t *testing.T) {
	backendtest.RunStore(t, func(testing.TB) backends.Store { return backendtest.NewMemory(backendtest.MemoryConfig{}) })
}

func TestFaultyThatIsToldNothingKeepsTheContract(t *testing.T) {
	backendtest.Run(t, func(testing.TB) backends.Backend {
		return backendtest.NewFaulty(backendtest.NewMemory(backendtest.MemoryConfig{}))
	})
}

func TestMemoryIsFull(t *testing.T) {
	ctx := t.Context()
	m := backendtest.NewMemory(backendtest.MemoryConfig{CapacityBytes: 1 << 20})
	st, err := m.Stage(ctx, backends.StageSpec{ID: "e-1", VirtualBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := st.WriteAt([]byte{1}, 2<<20); !errors.Is(err, backends.ErrNoSpace) {
		t.Errorf("got error %v, want %v", err, backends.ErrNoSpace)
	}
	if c, err := m.Capacity(ctx); err != nil || c.FreeBytes != 0 {
		t.Errorf("got %+v, %v, want nothing free", c, err)
	}
}

func TestMemoryLimitsClones(t *testing.T) {
	m := backendtest.NewMemory(backendtest.MemoryConfig{CloneLimit: 1})
	commit(t, m)
	want := []error{nil, backends.ErrLimit}
	for i, name := range []backends.VolumeName{"v1", "v2"} {
		_, err := m.Clone(t.Context(), "e-1", backends.VolumeSpec{Name: name, SizeBytes: 4096, Token: string(name)})
		if !errors.Is(err, want[i]) {
			t.Errorf("clone %d: got error %v, want %v", i, err, want[i])
		}
	}
}

func TestAbandonedStagesStayStaged(t *testing.T) {
	m := backendtest.NewMemory(backendtest.MemoryConfig{})
	st, err := m.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Abandon(); got != 1 {
		t.Errorf("got %d staged, want 1", got)
	}
	if _, err := st.Commit(t.Context(), backends.Description{}); err == nil {
		t.Error("the stage of a process that died was committed")
	}
	if r, err := m.Retire(t.Context(), "e-1"); err != nil || !r.Gone {
		t.Errorf("retire: got %+v, %v, want it gone", r, err)
	}
}

func commit(t *testing.T, b backends.Store) {
	t.Helper()
	st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), backends.Description{}); err != nil {
		t.Fatal(err)
	}
}

var errInjected = errors.New("injected")

func TestFaultyFailsTheCallThatItIsTold(t *testing.T) {
	ctx := t.Context()
	f := backendtest.NewFaulty(backendtest.NewMemory(backendtest.MemoryConfig{}))
	commit(t, f)
	f.FailBefore(backendtest.MethodClone, 1, errInjected)
	f.FailAfter(backendtest.MethodClone, 2, errInjected)
	clone := func() error {
		_, err := f.Clone(ctx, "e-1", backends.VolumeSpec{Name: "v", SizeBytes: 4096, Token: "t"})
		return err
	}
	steps := []struct {
		name   string
		want   error
		exists error // of StatVolume afterwards
	}{
		{"before the call", errInjected, backends.ErrNotExist},
		{"after the call", errInjected, nil},
		{"no longer", backends.ErrExist, nil},
	}
	for _, step := range steps {
		if err := clone(); !errors.Is(err, step.want) {
			t.Errorf("%s: got error %v, want %v", step.name, err, step.want)
		}
		if _, err := f.StatVolume(ctx, "v"); !errors.Is(err, step.exists) {
			t.Errorf("%s: stat: got error %v, want %v", step.name, err, step.exists)
		}
	}
	if got := f.Calls(backendtest.MethodClone); got != 3 {
		t.Errorf("got %d calls, want 3", got)
	}
}

func TestFaultyHoldsACall(t *testing.T) {
	f := backendtest.NewFaulty(backendtest.NewMemory(backendtest.MemoryConfig{}))
	hold := f.Hold(backendtest.MethodCommit, backendtest.Every)
	var running sync.WaitGroup
	running.Go(func() { commit(t, f) })
	<-hold.Reached()
	for v, err := range f.ListImageVolumes(t.Context()) {
		if err != nil || v.State != backends.Staged {
			t.Errorf("while the commit waits: got %v, %v, want it staged", v.State, err)
		}
	}
	f.Mend()
	running.Wait()
	for v, err := range f.ListImageVolumes(t.Context()) {
		if err != nil || v.State != backends.Committed {
			t.Errorf("after the commit: got %v, %v, want it committed", v.State, err)
		}
	}
	f.FailBefore(backendtest.MethodListImageVolumes, backendtest.Every, errInjected)
	for v, err := range f.ListImageVolumes(t.Context()) {
		if v.ID != "" || !errors.Is(err, errInjected) {
			t.Errorf("got %s, %v, want the listing to end with %v", v.ID, err, errInjected)
		}
	}
}

func TestFaultyDelayEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := backendtest.NewFaulty(backendtest.NewMemory(backendtest.MemoryConfig{}))
		f.Delay(backendtest.MethodCapacity, backendtest.Every, time.Minute)
		began := time.Now()
		if _, err := f.Capacity(t.Context()); err != nil || time.Since(began) != time.Minute {
			t.Errorf("got %v after %v, want no error after a minute", err, time.Since(began))
		}
	})
}
