package config

import (
	"fmt"
	"strings"
	"time"
)

// Table is one table of the file, for its kind to check. Keys are by their names in it.
type Table struct {
	// Config is the whole file. What stands before the table in it has been checked: the internal tenant, image
	// sources, backends, in this order.
	Config *Config
	Name   string // the key "name" of the table

	c  *checker
	at string
}

// ofKind lets a table's kind check its keys; of is nil where it has no known one.
func (c *checker) ofKind(cfg *Config, at, name string, of Settings) {
	if of != nil {
		of.Check(&Table{Config: cfg, Name: name, c: c, at: at})
	}
}

// Problem reports what is wrong with a key.
func (t *Table) Problem(key, what, remedy string) { t.c.problem(join(t.at, key), what, remedy) }

// Warn reports what is allowed but probably not meant.
func (t *Table) Warn(key, what, remedy string) { t.c.warn(join(t.at, key), what, remedy) }

// Given tells whether the file gives a key, be it with the value that is the default.
func (t *Table) Given(key string) bool { return t.c.set[join(t.at, key)] }

// Absolute makes a path absolute that may be left out.
func (t *Table) Absolute(p *Path) { *p = Path(absolute(t.c.file, string(*p))) }

// Secret makes the path of a secret absolute; it may be left out.
func (t *Table) Secret(f *SecretFile) { *f = SecretFile(absolute(t.c.file, string(*f))) }

// Volumes wants a directory that the daemon keeps volumes in. No other one that it writes to may lie within it.
func (t *Table) Volumes(key string, p *Path) { t.c.dir(join(t.at, key), p, volumes) }

// Images wants a directory that images are read from. It may be another source's too.
func (t *Table) Images(key string, p *Path) { t.c.dir(join(t.at, key), p, images) }

// Duration wants a duration within bounds.
func (t *Table) Duration(key string, d Duration, least, most time.Duration) {
	t.c.duration(join(t.at, key), d, least, most)
}

// OneOf wants one of a few words.
func (t *Table) OneOf(key, value string, words ...string) {
	t.c.oneOf(join(t.at, key), value, words...)
}

// Once refuses a value that a table which was checked before has under the same key. "" is none.
func (t *Table) Once(key, value, remedy string) {
	if value == "" {
		return
	}
	if t.c.once == nil {
		t.c.once = make(map[string]string)
	}
	is := key + "=" + value
	if other, taken := t.c.once[is]; taken {
		t.Problem(key, fmt.Sprintf("%q is that of %s already", value, other), remedy)
		return
	}
	sort, _, _ := strings.Cut(t.at, "[")
	t.c.once[is] = sort + " " + t.Name
}
