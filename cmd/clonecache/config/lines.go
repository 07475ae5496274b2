package config

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	tableLine = regexp.MustCompile(`^\s*(\[\[?)\s*([A-Za-z0-9_.\-]+)\s*\]`)
	keyLine   = regexp.MustCompile(`^\s*([A-Za-z0-9_.\-]+)\s*=`)
)

// lines finds where keys stand in a TOML text: "backend[1].path" → 17. It reads what configuration
// files look like, not all of TOML; a key that it does not find has no line, and only messages use it.
func lines(text string) map[string]int {
	found := make(map[string]int)
	tables := make(map[string]int) // how often [[name]] was seen
	at := ""
	for i, line := range strings.Split(text, "\n") {
		if m := tableLine.FindStringSubmatch(line); m != nil {
			at = m[2]
			if m[1] == "[[" {
				at = fmt.Sprintf("%s[%d]", m[2], tables[m[2]])
				tables[m[2]]++
			}
			note(found, at, i+1)
			note(found, m[2], i+1)
			continue
		}
		if m := keyLine.FindStringSubmatch(line); m != nil {
			note(found, join(at, m[1]), i+1)
		}
	}
	return found
}

func note(found map[string]int, key string, line int) {
	if _, seen := found[key]; !seen {
		found[key] = line
	}
}

// lineOf is the line of key, or of what it is part of; 0: unknown.
func lineOf(found map[string]int, key string) int {
	for key != "" {
		if line, ok := found[key]; ok {
			return line
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return 0
		}
		key = key[:cut]
	}
	return 0
}
