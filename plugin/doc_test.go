package plugin_test

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestThePackageCommentShowsTheExample holds the code in the package's comment to the example, which is compiled and run.
func TestThePackageCommentShowsTheExample(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "plugin.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	left, shown := string(example), 0
	for line := range strings.Lines(file.Doc.Text()) {
		code, isCode := strings.CutPrefix(strings.TrimRight(line, "\n"), "\t")
		if code = strings.TrimSpace(code); !isCode || code == "" {
			continue
		}
		shown++
		_, after, found := strings.Cut(left, code)
		if !found {
			t.Fatalf("%q does not follow in example_test.go", code)
		}
		left = after
	}
	if shown < 5 {
		t.Errorf("%d lines of code are shown", shown)
	}
}
