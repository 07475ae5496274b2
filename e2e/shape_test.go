package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The bounds of what a reader has to take in at once. They are of the code outside tests.
const (
	fileLines      = 400
	medianFunction = 11 // lines
	longFunction   = 25 // lines, of the ninth of ten functions in the order of their lengths
	frontMethods   = 40
	frontFields    = 12
)

// rooms are the parts of package plugin behind its front: each has fields of its own, which no other one reads.
var rooms = []string{"books", "reconciler", "stock", "roster", "remover", "fills", "ladder", "attendance", "queue", "keeper"}

// source is one file of the code outside tests.
type source struct {
	path string // below the module's directory
	*ast.File
}

func TestFilesAndFunctionsStayShort(t *testing.T) {
	files, set := sources(t, "..")
	var lengths []int
	for _, f := range files {
		if lines := set.Position(f.FileEnd).Line; lines > fileLines {
			t.Errorf("%s has %d lines, want %d at most: it holds two things", f.path, lines, fileLines)
		}
		for fn := range functions(f) {
			lengths = append(lengths, set.Position(fn.End()).Line-set.Position(fn.Pos()).Line+1)
		}
	}
	slices.Sort(lengths)
	if len(lengths) < 1000 {
		t.Fatalf("%d functions found: not the whole module was read", len(lengths))
	}
	if got := lengths[len(lengths)/2]; got > medianFunction {
		t.Errorf("half of the functions have %d lines or more, want %d", got, medianFunction)
	}
	if got := lengths[len(lengths)*9/10]; got > longFunction {
		t.Errorf("a tenth of the functions have %d lines or more, want %d", got, longFunction)
	}
}

func TestTheFrontOfThePluginIsThin(t *testing.T) {
	files, _ := pluginFiles(t)
	methods, fields := methodsOf(files)["Plugin"], fieldsOf(files)["Plugin"]
	if len(methods) == 0 || len(fields) == 0 {
		t.Fatal("type Plugin was not found")
	}
	if len(methods) > frontMethods {
		t.Errorf("Plugin has %d methods, want %d at most: what they do is a room's", len(methods), frontMethods)
	}
	if len(fields) > frontFields {
		t.Errorf("Plugin has %d fields, want %d at most: what they hold is a room's", len(fields), frontFields)
	}
}

// What one room keeps is reached through its methods: x.books.journal is nobody's to write, but x.books.note(…) is.
func TestNoRoomReachesIntoAnother(t *testing.T) {
	files, set := pluginFiles(t)
	fields, methods := fieldsOf(files), methodsOf(files)
	for _, room := range rooms {
		if len(fields[room]) == 0 || len(methods[room]) == 0 {
			t.Errorf("room %s was not found", room)
		}
	}
	for _, f := range files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			reached, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			through, ok := reached.X.(*ast.SelectorExpr)
			if !ok || !slices.Contains(rooms, through.Sel.Name) {
				return true
			}
			room, name := through.Sel.Name, reached.Sel.Name
			if slices.Contains(fields[room], name) && !slices.Contains(methods[room], name) {
				t.Errorf("%s reaches into %s: its %s is its own", set.Position(reached.Sel.Pos()), room, name)
			}
			return true
		})
	}
}

// pluginFiles are the files of package plugin itself.
func pluginFiles(t *testing.T) ([]source, *token.FileSet) {
	t.Helper()
	files, set := sources(t, "../plugin")
	return slices.DeleteFunc(files, func(f source) bool { return filepath.Dir(f.path) != "../plugin" }), set
}

// sources are the Go files below a directory, without tests and what tests read.
func sources(t *testing.T, dir string) ([]source, *token.FileSet) {
	t.Helper()
	set := token.NewFileSet()
	var files []source
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		files = append(files, source{path, f})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, set
}

// functions are those of a file that have a body.
func functions(f source) func(func(*ast.FuncDecl) bool) {
	return func(yield func(*ast.FuncDecl) bool) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil && !yield(fn) {
				return
			}
		}
	}
}

// methodsOf are the methods of each type, by its name.
func methodsOf(files []source) map[string][]string {
	all := make(map[string][]string)
	for _, f := range files {
		for fn := range functions(f) {
			if fn.Recv != nil {
				of := typeName(fn.Recv.List[0].Type)
				all[of] = append(all[of], fn.Name.Name)
			}
		}
	}
	return all
}

// fieldsOf are the fields of each struct, by its name; an embedded one has its type's name.
func fieldsOf(files []source) map[string][]string {
	all := make(map[string][]string)
	for _, f := range files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				all[spec.Name.Name] = fieldNames(s)
			}
			return true
		})
	}
	return all
}

func fieldNames(s *ast.StructType) []string {
	var names []string
	for _, f := range s.Fields.List {
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
		if len(f.Names) == 0 {
			names = append(names, typeName(f.Type))
		}
	}
	return names
}

// typeName is the name of a type, or of what it points to.
func typeName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.SelectorExpr:
		return x.Sel.Name
	case *ast.IndexExpr:
		return typeName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}
