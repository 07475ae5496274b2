package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// snippet is something that a document shows.
type snippet struct {
	file string
	line int    // its first one, from 1
	kind string // a fenced block's language; "indented"; "inline"
	text string
}

var (
	fence  = regexp.MustCompile("^\\s*```(\\w*)\\s*$")
	inline = regexp.MustCompile("`([^`]+)`")
)

// documents are all that a user reads: the paths of their files, from this package.
func documents(t *testing.T) []string {
	t.Helper()
	files := []string{"../../../README.md"}
	for _, pattern := range []string{"../../../docs/*.md", "../../../docs/adr/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 10 {
		t.Fatalf("found only %q", files)
	}
	return files
}

// snippets are what a document shows: fenced blocks, indented ones, and what stands in backquotes.
func snippets(t *testing.T, file string) []snippet {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []snippet
	var open *snippet // the block that goes on
	end := func() {
		if open != nil {
			all, open = append(all, *open), nil
		}
	}
	name, fenced := strings.TrimPrefix(file, "../../../"), false
	for i, line := range strings.Split(string(text), "\n") {
		if m := fence.FindStringSubmatch(line); m != nil {
			end()
			if fenced = !fenced; fenced {
				open = &snippet{file: name, line: i + 2, kind: m[1]}
			}
			continue
		}
		indented := strings.HasPrefix(line, "    ")
		switch {
		case fenced:
			open.text += line + "\n"
		case indented && open == nil:
			open = &snippet{file: name, line: i + 1, kind: "indented", text: line[4:] + "\n"}
		case indented:
			open.text += line[4:] + "\n"
		default:
			end()
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				all = append(all, snippet{name, i + 1, "inline", m[1]})
			}
		}
	}
	end()
	return all
}

// shownCommand is a command line that a document shows.
type shownCommand struct {
	snippet
	args []string
}

var program = regexp.MustCompile(`^(?:sudo (?:-u \w+ )?)?(?:[A-Z_]+=\S+ )*(?:\./bin/)?clonecache((?: .*)?)$`)

// shownCommands are the calls of this program in a snippet.
func shownCommands(s snippet) []shownCommand {
	var found []shownCommand
	for i, line := range strings.Split(strings.ReplaceAll(s.text, "\\\n", " "), "\n") {
		if s.kind == "text" && (!strings.HasPrefix(line, "  ") || strings.Contains(line, "[")) { // help: only its examples
			continue
		}
		line, _, _ = strings.Cut(line, "  #")
		for _, part := range regexp.MustCompile(` && | \|\|? |; | > `).Split(strings.TrimSpace(line), -1) {
			m := program.FindStringSubmatch(strings.TrimSpace(part))
			if m == nil || strings.HasPrefix(m[1], " ──") {
				continue
			}
			at := s
			at.line += i
			at.text = part
			found = append(found, shownCommand{at, strings.Fields(m[1])})
		}
	}
	return found
}
