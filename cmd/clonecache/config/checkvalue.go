package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// bounds are what [[backend]] and [[file_cache]] limit a cache by.
type bounds struct {
	maxSize    Size
	maxCount   int
	maxPercent int
	minAge     Duration
	minHits    int64
	maxIdle    Duration
	unused     Duration
}

func (c *checker) bounds(at string, b bounds) {
	if b.maxSize != 0 {
		c.size(at+".max_size", b.maxSize, minSize)
	}
	between(c, at+".max_count", b.maxCount, 0, math.MaxInt32)
	between(c, at+".max_percent", b.maxPercent, 0, 100)
	c.duration(at+".min_age", b.minAge, 0, maxEvictionDelay)
	between(c, at+".min_hits", b.minHits, 0, math.MaxInt32)
	if b.unused != 0 {
		c.duration(at+".remove_unused_after", b.unused, minMaxIdle, maxRetention)
	}
	if b.maxIdle != 0 {
		c.duration(at+".max_idle", b.maxIdle, minMaxIdle, maxRetention)
	}
}

// names checks that names are well formed and not given twice. Backends and file caches share one set
// of names, since entries and reports name either.
func (c *checker) names(cfg *Config) {
	sources, stores := make(map[string]string), make(map[string]string)
	for i, s := range cfg.ImageSources {
		c.name(fmt.Sprintf("image_source[%d]", i), s.Name, sources)
	}
	for i, b := range cfg.Backends {
		c.name(fmt.Sprintf("backend[%d]", i), b.Name, stores)
	}
	for i, f := range cfg.FileCaches {
		c.name(fmt.Sprintf("file_cache[%d]", i), f.Name, stores)
	}
}

func (c *checker) name(at, name string, taken map[string]string) {
	key := at + ".name"
	switch {
	case name == "":
		c.problem(key, "it has no name", "give a short name, such as \"local\"")
	case len(name) > maxName || !nameRule.MatchString(name):
		c.problem(key, fmt.Sprintf("%q is not a name", name),
			fmt.Sprintf("use up to %d of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit", maxName))
	case name == "http" || name == "https":
		c.problem(key, fmt.Sprintf("%q is kept for URLs", name), "use another name")
	case taken[name] != "":
		c.problem(key, fmt.Sprintf("%q is the name of %s already", name, taken[name]), "give each its own name")
	default:
		taken[name] = at
	}
}

// path wants a path, and makes it absolute.
func (c *checker) path(key string, p *Path) {
	if *p == "" {
		c.problem(key, "it is missing", "give a directory's path")
		return
	}
	*p = Path(absolute(c.file, string(*p)))
}

func (c *checker) size(key string, s Size, least int64) {
	if int64(s) < least {
		c.problem(key, fmt.Sprintf("%s is too small", s), "give at least "+Size(least).String())
	}
}

func (c *checker) duration(key string, d Duration, least, most time.Duration) {
	if time.Duration(d) < least || time.Duration(d) > most {
		c.problem(key, fmt.Sprintf("%s is out of bounds", d), fmt.Sprintf("give %s to %s", Duration(least), Duration(most)))
	}
}

func (c *checker) oneOf(key, value string, words ...string) {
	if !slices.Contains(words, value) {
		c.problem(key, fmt.Sprintf("%q is not known here", value), `use "`+strings.Join(words, `" or "`)+`"`)
	}
}

// between checks a number's bounds.
func between[T int | int64](c *checker, key string, n, least, most T) {
	if n < least || n > most {
		c.problem(key, fmt.Sprintf("%d is out of bounds", n), fmt.Sprintf("give %d to %d", least, most))
	}
}

func listed(names []string) string {
	if len(names) == 0 {
		return "; there is none yet"
	}
	return ": " + strings.Join(names, ", ")
}
