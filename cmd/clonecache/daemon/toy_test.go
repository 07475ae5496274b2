package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// toy is a kind of backend that keeps all in memory.
type toy struct {
	Colour string `toml:"colour"`
	opened *backendtest.Memory
}

func (b *toy) Check(t *config.Table) { t.OneOf("colour", b.Colour, "red", "blue") }

func (b *toy) Open(context.Context, backends.Name, kinds.Host) (backends.Backend, error) {
	b.opened = backendtest.NewMemory(backendtest.MemoryConfig{Info: b.Expected()})
	return b.opened, nil
}

func (b *toy) Try(_ context.Context, t *kinds.Part) {
	if b.Colour == "blue" {
		t.Problem("colour", errors.New("there is no blue left"), "take red")
		return
	}
	t.Fact("backend %s is %s", t.Name, b.Colour)
}

func (*toy) Expected() backends.Info {
	return backends.Info{Kind: "toy", CanClone: true, CloneMethod: "memory", IndependentClones: true}
}

func (*toy) VolumeType() string { return "" }

const withToy = `
state_dir = "state"
listen = ["unix://s"]
[[image_source]]
name = "library"
kind = "directory"
path = "images"
[[backend]]
name = "play"
kind = "toy"
`

// A kind is one type and one entry: then its keys are read and checked, a check of the configuration tries it, and the
// daemon opens it and serves volumes from it.
func TestANewKindIsOneEntry(t *testing.T) {
	registry := kinds.All()
	registry.Backends["toy"] = kinds.Kind[kinds.Backend]{New: func() kinds.Backend { return &toy{Colour: "red"} }}
	for _, c := range []struct{ name, keys, want string }{
		{"a value", `colour = "green"`, `"green" is not known here`},
		{"a type", `colour = 7`, "a number where a string is wanted"},
		{"a key of none", `color = "red"`, "did you mean colour?"},
		{"a key of another kind", `path = "p"`, `backend[0].path: it has no meaning for kind "toy": remove it; kind "file" has it`},
		{"its key at another kind", "[[backend]]\nname = \"other\"\nkind = \"file\"\npath = \"p\"\ncolour = \"red\"", `backend[1].colour: it has no meaning for kind "file": remove it; kind "toy" has it`},
	} {
		if _, err := registry.Parse([]byte(withToy+c.keys), "/c.toml"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := kinds.All().Parse([]byte(withToy), "/c.toml"); err == nil || !strings.Contains(err.Error(), `"toy" is not a kind`) {
		t.Errorf("without the entry: got %v", err)
	}
	cfg, dir := parseWith(t, registry, withToy)
	writeImage(t, dir)
	if trial := Try(t.Context(), cfg); len(trial.Problems) > 0 || !strings.Contains(strings.Join(trial.Facts, "\n"), "backend play is red") {
		t.Errorf("tried: got %+v", trial)
	}
	blue, _ := parseWith(t, registry, withToy+`colour = "blue"`)
	if p := Try(t.Context(), blue).Problems; len(p) == 0 || p[0].Key != "backend[0].colour" {
		t.Errorf("tried what is wrong: got %+v", p)
	}
	wantServed(t, cfg)
}

func writeImage(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "images/a.raw"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
}

// wantServed serves two volumes from the backend play.
func wantServed(t *testing.T, cfg config.Config) {
	t.Helper()
	d := run(t, cfg)
	for i, want := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
		volume := fmt.Sprintf("v%d", i+1)
		got, err := d.CreateVolume(t.Context(), api.CreateRequest{Backend: "play", Image: "library:a.raw", Volume: backends.VolumeName(volume)}, nil)
		if err != nil || got.Outcome != want {
			t.Errorf("%s: got %+v, %v, want %v", volume, got, err, want)
		}
	}
	views, err := d.Backends(t.Context())
	if err != nil || len(views) != 1 || !views[0].Available {
		t.Errorf("backends: got %+v, %v", views, err)
	}
	memory := kinds.OfBackend(cfg.Backends[0]).(*toy).opened
	if content, err := memory.OpenVolume(t.Context(), "v2"); err != nil {
		t.Errorf("the volume: %v", err)
	} else if err := content.Close(); err != nil {
		t.Error(err)
	}
}
