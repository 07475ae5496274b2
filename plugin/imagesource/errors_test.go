package imagesource

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// Errors has each error that the package declares, none after one that it is as well.
func TestErrorsAreAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "imagesource.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Err") {
			declared += len(spec.Names)
		}
		return true
	})
	all := Errors()
	if len(all) != declared {
		t.Errorf("%d errors, and %d are declared", len(all), declared)
	}
	for i, later := range all {
		for _, earlier := range all[:i] {
			if errors.Is(later, earlier) {
				t.Errorf("%q comes behind %q, which it is too", later, earlier)
			}
		}
	}
}
