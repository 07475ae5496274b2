package api

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
)

// exportedErrors are the Err… variables of the package in dir, as "package.ErrName".
func exportedErrors(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("sources of %s: %d files, %v", dir, len(files), err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range errorVariables(parsed) {
			names = append(names, parsed.Name.Name+"."+name)
		}
	}
	return names
}

func errorVariables(file *ast.File) (names []string) {
	for _, decl := range file.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok || general.Tok != gotoken.VAR {
			continue
		}
		for _, spec := range general.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				if strings.HasPrefix(name.Name, "Err") {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

// tableErrors are the errors that table.go's rows name.
func tableErrors(t *testing.T) map[string]bool {
	t.Helper()
	parsed, err := parser.ParseFile(gotoken.NewFileSet(), "table.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok {
				named[pkg.Name+"."+s.Sel.Name] = true
			}
		}
		return true
	})
	return named
}

func TestEveryExportedErrorIsInTheTable(t *testing.T) {
	named := tableErrors(t)
	for _, dir := range []string{"..", "../imagesource", "../diskimage", "../catalog", "../../backends", "../../internaltenant"} {
		names := exportedErrors(t, dir)
		if len(names) == 0 {
			t.Errorf("no exported errors were found in %s", dir)
		}
		for _, name := range names {
			if !named[name] {
				t.Errorf("%s has no row in table.go", name)
			}
		}
	}
}

func TestRowsAreWhole(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, r := range documented() {
		if !form.MatchString(r.code) || r.status < 400 || r.status > 599 || len(r.sentence) < 20 {
			t.Errorf("row %q is not whole: %+v", r.code, r)
		}
		if r.err != nil && lookup(r.err).code != r.code {
			t.Errorf("%v is answered by row %q, not its own %q", r.err, lookup(r.err).code, r.code)
		}
	}
}

func TestExplain(t *testing.T) {
	tests := []struct {
		name    string
		err     error
		code    string
		status  int
		retry   bool
		says    string
		conceal string
	}{
		{"a chain is concealed", fmt.Errorf("stage x: /var/lib: %w", backends.ErrNoSpace), "backend_full", 507, true, "no space left", "/var/lib"},
		{"the plugin's own words are kept", fmt.Errorf("%w: lib:a needs 2 bytes, the volume has 1", plugin.ErrTooSmall), "volume_too_small", 422, false, "needs 2 bytes", ""},
		{"the bare error gets the sentence", plugin.ErrTooSmall, "volume_too_small", 422, false, "ask for a larger size", ""},
		{"a refusal names its rule", fmt.Errorf("open: %w", &diskimage.Refusal{Rule: "data-file", Remedy: "Convert it."}), "image_refused", 422, false, "data-file", "open:"},
		{"joined errors go by the plugin's", errors.Join(catalog.ErrNotFound, plugin.ErrBusy), "entry_busy", 409, true, "", ""},
		{"a deadline", fmt.Errorf("fill: %w", context.DeadlineExceeded), "deadline_exceeded", 504, true, "later deadline", "fill"},
		{"the unknown is internal", errors.New("disk on fire at /dev/sda"), "internal", 500, false, "log", "/dev/sda"},
		{"an *Error stays", fmt.Errorf("x: %w", &Error{Code: "starting", Status: 503, Message: "m"}), "starting", 503, false, "m", "x:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := Explain(tt.err)
			if e.Code != tt.code || e.Status != tt.status || e.Retryable != tt.retry {
				t.Errorf("got %s %d %v, want %s %d %v", e.Code, e.Status, e.Retryable, tt.code, tt.status, tt.retry)
			}
			if !strings.Contains(e.Message, tt.says) || tt.conceal != "" && strings.Contains(e.Message, tt.conceal) {
				t.Errorf("message %q, want %q in it and %q not", e.Message, tt.says, tt.conceal)
			}
		})
	}
}

func TestStatusesThatSayTryAgainAreRetryable(t *testing.T) {
	for _, r := range table {
		if (r.status == http.StatusGatewayTimeout || r.status == http.StatusBadGateway) && r.retry != later {
			t.Errorf("%s answers %d, and is not retryable", r.code, r.status)
		}
	}
}

const (
	apiDoc      = "../../docs/api.md"
	errorsBegin = "| code | status | retry | |\n|---|---|---|---|\n"
)

// TestEveryCodeIsDocumented compares the table of errors in docs/api.md with all that are answered.
func TestEveryCodeIsDocumented(t *testing.T) {
	var want strings.Builder
	seen := map[string]bool{}
	for _, r := range documented() {
		if seen[r.code] { // two errors may mean the same to the person who asked
			continue
		}
		seen[r.code] = true
		again := ""
		if r.retry {
			again = "yes"
		}
		fmt.Fprintf(&want, "| `%s` | %d | %s | %s |\n", r.code, r.status, again, r.sentence)
	}
	text, err := os.ReadFile(apiDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), errorsBegin)
	got, after, ends := strings.Cut(rest, "\n\n")
	if !found || !ends {
		t.Fatalf("%s has no table of errors", apiDoc)
	}
	if got+"\n" == want.String() {
		return
	}
	if update := flag.Lookup("update"); update != nil && update.Value.String() == "true" {
		if err := os.WriteFile(apiDoc, []byte(before+errorsBegin+want.String()+"\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table of errors in %s is not what is answered; run: go test ./plugin/api -update", apiDoc)
}

// TestNoCodeIsAnsweredByHand: an answer that is made in place is in no table and in no documentation.
func TestNoCodeIsAnsweredByHand(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	inPlace := regexp.MustCompile(`Error\{Code: *"(\w+)"`)
	known := map[string]bool{}
	for _, r := range documented() {
		known[r.code] = true
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inPlace.FindAllStringSubmatch(string(text), -1) {
			if !strings.HasSuffix(file, "_test.go") && !known[m[1]] {
				t.Errorf("%s answers %s, which is in no table", file, m[1])
			}
		}
	}
}

// Whoever words an error themselves may leave out what helps; the person who asked hears it all the same.
func TestEveryErrorThatSpeaksEndsInARemedy(t *testing.T) {
	for _, r := range table {
		if !r.speaks || errors.Is(r.err, plugin.ErrBadRequest) { // what is wrong with a field says what it may be
			continue
		}
		said := Explain(fmt.Errorf("volume v: %w", r.err)).Message
		if _, remedy, found := strings.Cut(said, "; "); !found || remedy == "" {
			t.Errorf("%s: %q has no remedy", r.code, said)
		}
	}
	if said := Explain(fmt.Errorf("%w: there is none; make one", plugin.ErrUnknownBackend)).Message; said != "unknown backend: there is none; make one" {
		t.Errorf("an error with a remedy of its own: got %q", said)
	}
}
