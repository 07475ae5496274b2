package plugin_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

func TestAFlattenedVolumeLetsItsImageVolumeGo(t *testing.T) {
	r, source, backend := memoryRig(t)
	content := source.bytes["disk"]
	for _, name := range []string{"v1", "v2"} {
		r.create(t, "gated:disk", name, 0)
	}
	e, err := r.Entry(t.Context(), r.wantEntries(t, 1)[0].ID)
	slices.Sort(e.Dependents)
	if err != nil || !slices.Equal(e.Dependents, []backends.VolumeName{"v1", "v2"}) {
		t.Fatalf("entry: got %+v, %v, want two dependents", e, err)
	}
	if _, err := r.DeleteEntry(t.Context(), e.ID, true); err != nil {
		t.Fatal(err)
	}
	var done, total int64
	first, err := r.FlattenVolume(t.Context(), "", "v1", func(d, all int64) { done, total = d, all })
	if err != nil || first.Reaped != 0 || done != total || total == 0 {
		t.Errorf("first: got %+v, %v, progress %d of %d", first, err, done, total)
	}
	wantDependsOn(t, r, map[backends.VolumeName]string{"v1": "", "v2": e.ImageVolume})
	second, err := r.FlattenVolume(t.Context(), "local", "v2", nil)
	if err != nil || second.Reaped != 1 || second.FreedBytes == 0 {
		t.Errorf("second: got %+v, %v, want the image-volume reaped", second, err)
	}
	r.wantEntries(t, 0)
	backend.wantContent(t, "v1", content)
	backend.wantContent(t, "v2", content)
	checkClean(t, r)
}

func wantDependsOn(t *testing.T, r *rig, want map[backends.VolumeName]string) {
	t.Helper()
	volumes, err := r.ListVolumes(t.Context(), "")
	if err != nil || len(volumes) != len(want) {
		t.Fatalf("volumes: got %+v, %v", volumes, err)
	}
	for _, v := range volumes {
		if v.DependsOn != want[v.Volume] {
			t.Errorf("volume %s depends on %q, want %q", v.Volume, v.DependsOn, want[v.Volume])
		}
	}
}

// stiff is a backend that cannot flatten.
type stiff struct{ backends.Backend }

func TestWhatCannotBeFlattened(t *testing.T) {
	r, _, _ := memoryRig(t)
	if _, err := r.FlattenVolume(t.Context(), "", "absent", nil); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("no such volume: got %v, want ErrNotExist", err)
	}
	if _, err := r.FlattenVolume(t.Context(), "nowhere", "v", nil); !errors.Is(err, plugin.ErrUnknownBackend) {
		t.Errorf("no such backend: got %v, want ErrUnknownBackend", err)
	}
	for _, independent := range []bool{true, false} {
		source := newGatedSource()
		close(source.gate)
		info := backends.Info{CanClone: true, CloneMethod: "memory", IndependentClones: independent}
		memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: info})
		r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(stiff{memory}))
		source.put("disk", "1", random(mib))
		r.create(t, "gated:disk", "v1", 0)
		_, err := r.FlattenVolume(t.Context(), "", "v1", nil)
		if errors.Is(err, plugin.ErrCannotFlatten) == independent {
			t.Errorf("independent clones %v: got %v", independent, err)
		}
	}
}
