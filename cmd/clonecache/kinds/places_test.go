package kinds

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A kind is known by its word in one place alone, its entry in All: what else would have to be changed for a new one
// would be forgotten once.
func TestAKindIsNamedOnlyWhereItsEntryIs(t *testing.T) {
	all := All()
	words := slices.Concat(slices.Collect(maps.Keys(all.Backends)), slices.Collect(maps.Keys(all.Sources)), slices.Collect(maps.Keys(all.Tenants)))
	entries := make(map[string]int)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, lit := range literals(file) {
			word, err := strconv.Unquote(lit.Value)
			switch {
			case err != nil || !slices.Contains(words, word):
			case path == filepath.Join("..", "kinds", "kinds.go"):
				entries[word]++
			case word == imageVolumesCinder && path == filepath.Join("..", "kinds", "incinder.go"): // a value of image_volumes
			default:
				t.Errorf("%s: %s is the word of a kind: it belongs into its entry in All", set.Position(lit.Pos()), lit.Value)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range words {
		want := 1
		if word == all.DefaultTenant {
			want = 2
		}
		if entries[word] != want {
			t.Errorf("kind %q: its word stands in kinds.go %d times, want %d", word, entries[word], want)
		}
	}
}

// literals are the strings of a file, but for those that a URL's scheme is compared with: "http" is such a one too,
// and the name of an image source may not be one.
func literals(file *ast.File) (found []*ast.BasicLit) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			return !isScheme(n.X)
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				found = append(found, n)
			}
		}
		return true
	})
	return found
}

func isScheme(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return e.Sel.Name == "Scheme"
	case *ast.Ident:
		return e.Name == "name"
	}
	return false
}
