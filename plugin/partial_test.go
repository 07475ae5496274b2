package plugin_test

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// silentBackend answers nothing while it is down.
type silentBackend struct {
	*forgetful
	down bool
}

func (b *silentBackend) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	if b.down {
		return func(yield func(backends.Volume, error) bool) { yield(backends.Volume{}, backends.ErrUnavailable) }
	}
	return b.forgetful.ListVolumes(ctx)
}

func (b *silentBackend) Capacity(ctx context.Context) (backends.Capacity, error) {
	if b.down {
		return backends.Capacity{}, backends.ErrUnavailable
	}
	return b.forgetful.Capacity(ctx)
}

func (b *silentBackend) fall() { b.down, b.whole = true, backends.ErrUnavailable }

// twoBackends has a volume and an entry on "local", which is healthy, and on "other".
func twoBackends(t *testing.T) (*rig, *silentBackend) {
	t.Helper()
	dir := t.TempDir()
	healthy, err := file.Open(t.Context(), file.Config{Name: "healthy", Path: filepath.Join(dir, "healthy")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = healthy.Close() })
	other := &silentBackend{forgetful: &forgetful{capable: newCapable()}}
	r := newRig(t, dir, lru.Bounds{}, withBackend(other), func(c *plugin.Config) {
		c.Backends = append(c.Backends, plugin.BackendConfig{Name: "healthy", Backend: healthy, Fallback: "files"})
	})
	r.image(t, "disk.raw", mib)
	for _, name := range []backends.Name{"local", "healthy"} {
		if _, err := r.CreateVolume(t.Context(), plugin.Request{Backend: name, Image: "library:disk.raw", Volume: backends.VolumeName("on-" + name)}); err != nil {
			t.Fatal(err)
		}
	}
	return r, other
}

func TestVolumesOfTheOthersAreListedWhileABackendIsDown(t *testing.T) {
	r, other := twoBackends(t)
	other.fall()
	volumes, err := r.ListVolumes(t.Context(), "")
	var partial *plugin.PartialError
	if !errors.As(err, &partial) || !errors.Is(err, backends.ErrUnavailable) || len(partial.Unavailable) != 1 || partial.Unavailable[0].Name != "local" {
		t.Errorf("got %v, want an error that names the backend", err)
	}
	if len(volumes) != 1 || volumes[0].Volume != "on-healthy" {
		t.Errorf("got %+v, want the healthy one's volume", volumes)
	}
	if _, err := r.ListVolumes(t.Context(), "local"); !errors.Is(err, backends.ErrUnavailable) || errors.As(err, &partial) && partial == nil {
		t.Errorf("that backend alone: got %v", err)
	}
}

func TestCleaningNamesABackendThatIsDown(t *testing.T) {
	r, other := twoBackends(t)
	for _, want := range []int{0, 1} {
		for what, clean := range map[string]func(context.Context) (plugin.CleanResult, error){"clean": r.Clean, "plan": r.Controls().PlanClean} {
			got, err := clean(t.Context())
			if err != nil || got.Unavailable == nil || len(got.Unavailable) != want || want == 1 && got.Unavailable[0].Name != "local" {
				t.Errorf("%s: got %+v, %v, want %d left out", what, got.Unavailable, err, want)
			}
		}
		other.fall()
	}
}

func TestDeletingAllEntriesGoesOnWhereABackendIsDown(t *testing.T) {
	r, other := twoBackends(t)
	if plan, err := r.PlanDeletion(t.Context(), plugin.Deletion{}); err != nil || len(plan.Unavailable) != 0 || len(plan.Planned) != 2 {
		t.Fatalf("planned while all answer: %+v, %v", plan, err)
	}
	other.fall()
	plan, err := r.PlanDeletion(t.Context(), plugin.Deletion{})
	if err != nil || len(plan.Unavailable) != 1 || len(plan.Planned) != 2 {
		t.Errorf("planned: %+v, %v", plan, err)
	}
	got, err := r.DeleteAllEntries(t.Context(), "", true)
	if err != nil || len(got.Removed) != 1 || got.Removed[0].Backend == "local" {
		t.Errorf("removed: %+v, %v, want what is not on the silent backend", got.Removed, err)
	}
	if len(got.Unavailable) != 1 || got.Unavailable[0].Name != "local" || got.Unavailable[0].Error == "" {
		t.Errorf("left out: %+v, want local", got.Unavailable)
	}
	if _, err := r.DeleteAllEntries(t.Context(), "local", true); !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("of that backend alone: got %v", err)
	}
	left := r.wantEntries(t, 1)[0]
	if _, err := r.DeleteEntry(t.Context(), left.ID, true); !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("one entry there: got %v", err)
	}
	if left := r.wantEntries(t, 1)[0]; left.State != "ready" {
		t.Errorf("the entry on the silent backend is %s, want it ready for when that answers", left.State)
	}
}

func TestAnAmbiguousIDNamesItsCandidates(t *testing.T) {
	r, _ := twoBackends(t)
	all := r.wantEntries(t, 2)
	common := 0
	for common < len(all[0].ID) && all[0].ID[common] == all[1].ID[common] {
		common++
	}
	if common < 4 {
		t.Fatalf("%s and %s have nothing in common", all[0].ID, all[1].ID)
	}
	_, err := r.Entry(t.Context(), all[0].ID[:4])
	if !errors.Is(err, plugin.ErrBadRequest) {
		t.Fatalf("got %v, want that the request is wrong", err)
	}
	for _, e := range all {
		if !strings.Contains(err.Error(), e.ID+" ("+string(e.Backend)+")") {
			t.Errorf("%v does not name %s on %s", err, e.ID, e.Backend)
		}
	}
}
