package e2e

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/clonecache/clonecache"

// pkg is what `go list -json` says of one package.
type pkg struct {
	ImportPath string
	Imports    []string
}

// layers are the parts from the bottom to the top: each may import parts that stand before it, besides
// itself.
var layers = []string{
	"lru",
	"plugin/words",
	"plugin/failpoint",
	smallFile,
	"internaltenant",
	"backends",
	"plugin/diskimage",
	"plugin/imagesource",
	"plugin/oslomsg",
	"plugin/catalog",
	"plugin/report",
	"plugin/journal",
	"plugin",
	"plugin/outbox",
	"plugin/api",
	"cmd",
	"e2e",
}

// smallFile reads what a person names; whoever does that may import it.
const smallFile = "plugin/smallfile"

// alone are the parts that import no other part, whatever stands below them.
var alone = []string{"lru", "plugin/failpoint", smallFile, "plugin/diskimage", "plugin/imagesource", "plugin/oslomsg"}

// only are libraries that belong to few packages.
var only = map[string][]string{
	"github.com/ceph/go-ceph":            {"backends/rbd"},
	"github.com/gophercloud/gophercloud": {"internaltenant", "plugin/imagesource", "backends/cinder"},
	"modernc.org/sqlite":                 {"plugin/catalog"},
	"github.com/go-sql-driver/mysql":     {"plugin/catalog"},
	"github.com/jackc/pgx":               {"plugin/catalog"},
	"github.com/spf13/cobra":             {"cmd"},
	"github.com/BurntSushi/toml":         {"cmd"},
	"github.com/danielgtaylor/huma":      {"plugin/api"},
	"github.com/prometheus":              {"plugin/api", "cmd"},
	"github.com/rabbitmq":                {"plugin/oslomsg", "plugin", "cmd"},
}

// Imports point one way, from what wires to what is wired.
func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, path := range p.Imports {
			if to, ours := strings.CutPrefix(path, module+"/"); ours {
				checkOwn(t, from, to)
				continue
			}
			checkForeign(t, from, path)
		}
	}
}

// The top of the tree stays as small as it is.
func TestTheTopOfTheTree(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "-C", "..", "ls-tree", "--name-only", "HEAD").Output()
	if err != nil {
		t.Skipf("git lists no tree here, so what belongs to the project is not known: %v", err)
	}
	known := strings.Fields("backends cmd docs e2e go.mod go.sum internaltenant LICENSE lru Makefile plugin README.md")
	for _, name := range strings.Fields(string(out)) {
		if !strings.HasPrefix(name, ".") && !slices.Contains(known, name) {
			t.Errorf("%s stands at the top", name)
		}
	}
}

func checkOwn(t *testing.T, from, to string) {
	t.Helper()
	upper, lower := layer(from), layer(to)
	switch {
	case upper < 0 || lower < 0:
		t.Errorf("%s imports %s: one of them is in no layer", from, to)
	case layers[upper] == layers[lower], layers[lower] == smallFile && layers[upper] != "lru":
	case lower > upper:
		t.Errorf("%s imports %s, which stands above it", from, to)
	case slices.Contains(alone, layers[upper]):
		t.Errorf("%s imports %s, and should stand alone", from, to)
	}
}

func checkForeign(t *testing.T, from, path string) {
	t.Helper()
	for library, homes := range only {
		if below(from, "e2e") || !strings.HasPrefix(path, library) {
			continue
		}
		if !slices.ContainsFunc(homes, func(home string) bool { return below(from, home) }) {
			t.Errorf("%s imports %s, which belongs to %q alone", from, path, homes)
		}
	}
	if below(from, "lru") && strings.Contains(path, ".") {
		t.Errorf("%s imports %s: the policy needs the standard library alone", from, path)
	}
}

// layer is the most specific layer that a package belongs to, as an index into layers.
func layer(path string) int {
	best := -1
	for i, l := range layers {
		if below(path, l) && (best < 0 || len(l) > len(layers[best])) {
			best = i
		}
	}
	return best
}

func below(path, part string) bool { return path == part || strings.HasPrefix(path, part+"/") }

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}
