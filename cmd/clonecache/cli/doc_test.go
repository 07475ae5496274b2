package cli

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files and docs/cli.md anew")

const (
	docFile   = "../../../docs/cli.md"
	docMarker = "<!-- What follows is written by `go test ./cmd/clonecache/cli -update`. -->\n"
)

// TestEveryCommandIsDocumented compares the second part of docs/cli.md with the commands themselves.
func TestEveryCommandIsDocumented(t *testing.T) {
	text, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	byHand, got, found := strings.Cut(string(text), docMarker)
	if !found {
		t.Fatalf("%s has no line %q", docFile, docMarker)
	}
	want := "\n" + commandsAsMarkdown(t)
	if *update {
		if err := os.WriteFile(docFile, []byte(byHand+docMarker+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("docs/cli.md is not what the commands say; run: go test ./cmd/clonecache/cli -update")
	}
	for _, c := range exitCodes {
		if !strings.Contains(byHand, fmt.Sprintf("| %d | %s |", c.code, c.meaning)) {
			t.Errorf("docs/cli.md does not say what exit code %d means: %s", c.code, c.meaning)
		}
	}
}

func commandsAsMarkdown(t *testing.T) string {
	a := &app{Env: testEnv(io.Discard, io.Discard)}
	root := a.root()
	var b strings.Builder
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" || c.Name() == "exit-codes" {
			return
		}
		var help bytes.Buffer
		c.SetOut(&help)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(help.String(), "\n\nGlobal Flags:") // the root has them
		fmt.Fprintf(&b, "### %s\n\n```text\n%s\n```\n\n", c.CommandPath(), strings.TrimRight(text, "\n"))
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return strings.TrimSuffix(b.String(), "\n")
}

// TestEveryCommandExplainsItself: each has a sentence, a text and an example.
func TestEveryCommandExplainsItself(t *testing.T) {
	a := &app{Env: testEnv(io.Discard, io.Discard)}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" || c.Name() == "exit-codes" {
			return
		}
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s: Short, Long or Example is missing", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.Contains(line, "clonecache ") {
				t.Errorf("%s: example %q does not call clonecache", c.CommandPath(), line)
			}
		}
		for line := range strings.Lines(c.Long) {
			if len(line) > 121 {
				t.Errorf("%s: a line of its help has %d characters: %q", c.CommandPath(), len(line), line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(a.root())
}

// testEnv is an environment without variables, at a fixed time.
func testEnv(out, errs io.Writer) Env {
	return Env{
		Out: out, Err: errs, Version: "v1.2.3",
		Getenv: func(string) string { return "" },
		Now:    func() time.Time { return time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC) },
	}
}
