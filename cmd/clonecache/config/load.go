package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/clonecache/clonecache/plugin/smallfile"
)

// tenantTable is the table with a kind that may be left out.
const tenantTable = "internal_tenant"

// Load reads a configuration file whose kinds are r's. The error is Problems where the file could be read;
// smallfile.ErrNotSmall: it is no configuration.
func Load(file string, r Registry) (Config, error) {
	text, err := smallfile.Read(file)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(text, file, r)
}

// Parse reads a configuration's text; file names it in problems, and its directory is what relative
// paths start from. The error is Problems.
func Parse(text []byte, file string, r Registry) (Config, error) {
	var doc map[string]any
	if err := toml.Unmarshal(text, &doc); err != nil {
		return Config{}, Problems{syntaxProblem(err, file)}
	}
	found := lines(string(text))
	c := &checker{file: file, lineOf: func(key string) int { return lineOf(found, key) }}
	cfg := Default()
	if _, given := doc[tenantTable]; !given { // its kind has defaults
		doc[tenantTable] = map[string]any{}
	}
	d := &decoder{problem: c.undecoded, registry: r, set: make(map[string]bool)}
	d.table(doc, reflect.ValueOf(&cfg).Elem(), "")
	c.set = d.set
	c.config(&cfg)
	if len(c.problems) > 0 {
		c.problems.sort()
		return Config{}, c.problems
	}
	c.warnings.sort()
	cfg.Warnings = c.warnings
	return cfg, nil
}

// syntaxProblem turns the parser's error into a Problem.
func syntaxProblem(err error, file string) Problem {
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		return Problem{File: file, Line: syntax.Position.Line, Key: syntax.LastKey, What: "not TOML: " + syntax.Message,
			Remedy: "see https://toml.io for how it is written"}
	}
	return Problem{File: file, What: "not TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}
}

// absolute makes a path of the file absolute and clean.
func absolute(file, path string) string {
	if path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(file), path)
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}
