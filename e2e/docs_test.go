package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// Every code that the API answers errors with stands in docs/api.md.
func TestErrorCodesAreDocumented(t *testing.T) {
	table, doc := read(t, "plugin/api/table.go"), read(t, "docs/api.md")
	codes := regexp.MustCompile(`"([a-z_]+)", (?:http\.)?Status`).FindAllStringSubmatch(table, -1)
	if len(codes) < 20 {
		t.Fatalf("found only %d codes in the table", len(codes))
	}
	for _, code := range codes {
		if !strings.Contains(doc, "| `"+code[1]+"` |") {
			t.Errorf("docs/api.md does not explain the code %q", code[1])
		}
	}
}

// Every reason of an outcome stands in docs/api.md.
func TestReasonsAreDocumented(t *testing.T) {
	words, doc := read(t, "plugin/words/words.go"), read(t, "docs/api.md")
	reasons := regexp.MustCompile(`Reason\s+= "([a-z_]+)"`).FindAllStringSubmatch(words, -1)
	if len(reasons) < 20 {
		t.Fatalf("found only %d reasons", len(reasons))
	}
	for _, reason := range reasons {
		if !strings.Contains(doc, "`"+reason[1]+"`") {
			t.Errorf("docs/api.md does not explain the reason %q", reason[1])
		}
	}
}

// Every metric that the daemon serves stands in docs/monitoring.md.
func TestMetricsAreDocumented(t *testing.T) {
	doc := read(t, "docs/monitoring.md")
	d := cloning(t, harness.Config{MaxCount: 1})
	for n := 1; n <= 2; n++ {
		ref, _ := addImage(t, d, n)
		d.Create(t, harness.Volume{Image: ref, Name: ref[len("library:"):]})
	}
	d.TryCreate(t, harness.Volume{Image: "library:absent.raw", Name: "absent"})
	_, text := d.Get(t, "/metrics")
	names := regexp.MustCompile(`(?m)^# TYPE (clonecache_\w+)`).FindAllStringSubmatch(text, -1)
	if len(names) < 10 {
		t.Fatalf("found only %d metrics:\n%s", len(names), text)
	}
	for _, name := range names {
		if !strings.Contains(doc, name[1]) {
			t.Errorf("docs/monitoring.md does not name %s", name[1])
		}
	}
}

// Links between the documents lead somewhere.
func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), link[1])); err != nil {
				t.Errorf("%s: broken link to %s", file, link[1])
			}
		}
	}
}

// read reads a file, by its absolute path or within the checkout.
func read(t *testing.T, path string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join("..", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
