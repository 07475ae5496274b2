package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// directory is one that the daemon uses, and what for.
type directory struct {
	key  string
	path string
	use  use
}

// use is what a directory is for.
type use int

const (
	state   use = iota + 1 // the catalog and the journal
	scratch                // emptied at start
	volumes                // a backend's
	files                  // a file cache's
	images                 // a source's, readable to every requester
)

// directories refuses those that lie within each other, since one would serve, empty or count what is
// the other's. Within state_dir there may be others, scratch_dir first of all; the daemon keeps files
// there but never lists it. A source around others is only warned of: what is in it may be asked for
// as an image, which is the operator's to decide.
func (c *checker) directories() {
	for i, a := range c.dirs {
		for _, b := range c.dirs[:i] {
			outer, inner := b, a
			if !within(outer.path, inner.path) {
				outer, inner = a, b
			}
			if !within(outer.path, inner.path) || mayNest(outer, inner) {
				continue
			}
			report := c.problem
			if outer.use == images && outer.path != inner.path {
				report = c.warn
			}
			report(a.key, overlap(outer, inner), why(outer, inner))
		}
	}
}

// overlap says how two directories that need places of their own lie.
func overlap(outer, inner directory) string {
	if outer.path == inner.path {
		return fmt.Sprintf("%s is %s too", inner.path, outer.key)
	}
	return fmt.Sprintf("%s (%s) lies within %s (%s)", inner.path, inner.key, outer.path, outer.key)
}

// dir checks the path of a directory, and notes what it is for.
func (c *checker) dir(key string, path *Path, u use) {
	c.path(key, path)
	if *path == "/" && u != images {
		c.problem(key, "it is the root of all directories", "give a directory of its own")
		return
	}
	if *path != "" {
		c.dirs = append(c.dirs, directory{key, followed(string(*path)), u})
	}
}

// mayNest tells whether inner may lie within outer: in state_dir, but not as state_dir itself; and two
// sources may share a directory, since both only read it.
func mayNest(outer, inner directory) bool {
	if outer.use == images && inner.use == images {
		return true
	}
	return outer.use == state && inner.use != state && outer.path != inner.path
}

func why(outer, inner directory) string {
	switch {
	case outer.use == scratch, inner.use == scratch && outer.path == inner.path:
		return "scratch space is emptied at start: give it a directory of its own"
	case outer.use == images:
		return "every requester could read it as an image: use directories beside each other"
	}
	return "use directories beside each other"
}

// within tells whether inner is outer or lies below it; both are clean and absolute.
func within(outer, inner string) bool {
	return inner == outer || outer == "/" || strings.HasPrefix(inner, outer+"/")
}

// followed is path with symbolic links resolved as far as it exists, so that two names of one
// directory are seen to be one.
func followed(path string) string {
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest)
		} else if !os.IsNotExist(err) || at == filepath.Dir(at) {
			return path
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}
