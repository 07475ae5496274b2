package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Settings are the keys of one table of the file that belong to its kind: a pointer to a struct whose fields have
// toml tags. Keys that the file leaves out are as Kind.New made them.
type Settings interface {
	// Check reports what is wrong with the keys, and makes their paths absolute.
	Check(t *Table)
}

// Uncopied are the Settings of a backend into which nothing can be copied: a fallback would be of no use to it.
type Uncopied interface {
	Settings
	Uncopied()
}

// Followed are the Settings of an image source that know by which rules its images can be followed.
type Followed interface {
	Settings
	// CheckFollow tells why images cannot be matched as the rule has it, and what helps; "": they can.
	CheckFollow(f Follow) (what, remedy string)
}

// Fronted are the Settings of an image source before whose service [glance_api] can stand.
type Fronted interface {
	Settings
	// Fronted is the service's URL; "": Keystone's catalog has it.
	Fronted() string
}

// Web are the Settings of an image source whose images have URLs.
type Web interface {
	Settings
	// Serves tells whether a URL may be one of its images'.
	Serves(url string) bool
}

// Kind is what one word of a key "kind" stands for.
type Kind struct {
	New     func() Settings // with its defaults
	Missing string          // why this build does not have it; "" where it does. Its keys are checked all the same
}

// Kinds are the words that the key "kind" of one sort of table takes.
type Kinds struct {
	Of      map[string]Kind
	Default string // where the key is left out; "": it may not be
}

// Registry has the kinds of all tables that have some. A kind that this build lacks is known by name, so that the
// operator hears what is missing and not that the word is wrong.
type Registry struct {
	Backends Kinds
	Sources  Kinds
	Tenants  Kinds
}

// Kinded is what the tables with a key "kind" have in common. Of is nil where the kind is unknown.
type Kinded struct {
	Kind string   `toml:"kind"`
	Of   Settings `toml:"-"`
}

func (t *InternalTenant) kinds(r Registry) (Kinds, *Kinded) { return r.Tenants, &t.Kinded }
func (s *ImageSource) kinds(r Registry) (Kinds, *Kinded)    { return r.Sources, &s.Kinded }
func (b *Backend) kinds(r Registry) (Kinds, *Kinded)        { return r.Backends, &b.Kinded }

// foreign are the keys that belong to other kinds than a table's own.
type foreign struct {
	to   string            // the table's own kind; "": it is not known
	keys map[string]string // with the kinds that have them, as a sentence
}

// ofKind makes the settings of a table's kind, and adds their keys to the table's fields.
func (d *decoder) ofKind(doc map[string]any, dst reflect.Value, at string, fields map[string]reflect.Value) foreign {
	table, ok := dst.Addr().Interface().(interface {
		kinds(Registry) (Kinds, *Kinded)
	})
	if !ok {
		return foreign{}
	}
	kinds, kinded := table.kinds(d.registry)
	kinded.Kind = kinds.Default
	if word, isWord := doc["kind"].(string); isWord {
		kinded.Kind = word
	} else if _, given := doc["kind"]; given { // its type is reported as every key's
		return foreign{keys: kinds.keysBeside(fields)}
	}
	kind, known := kinds.Of[kinded.Kind]
	d.unusable(join(at, "kind"), kinded.Kind, kinds)
	if !known {
		return foreign{keys: kinds.keysBeside(fields)}
	}
	kinded.Of = kind.New()
	maps.Copy(fields, keysOfKind(kinded.Of))
	return foreign{to: kinded.Kind, keys: kinds.keysBeside(fields)}
}

// unusable reports a word of which there is no kind here.
func (d *decoder) unusable(key, word string, kinds Kinds) {
	kind, known := kinds.Of[word]
	switch {
	case word == "":
		d.problem(key, "it is missing", "write kind = "+kinds.available())
	case !known:
		d.problem(key, fmt.Sprintf("%q is not a kind", word), "use "+kinds.available())
	case kind.Missing != "":
		d.problem(key, fmt.Sprintf("kind %q cannot be used", word), kind.Missing)
	}
}

// keysBeside are the keys of all kinds that are not among fields, with the kinds that have them.
func (k Kinds) keysBeside(fields map[string]reflect.Value) map[string]string {
	having := make(map[string][]string)
	for _, word := range slices.Sorted(maps.Keys(k.Of)) {
		for key := range keysOfKind(k.Of[word].New()) {
			if _, own := fields[key]; !own {
				having[key] = append(having[key], strconv.Quote(word))
			}
		}
	}
	keys := make(map[string]string, len(having))
	for key, words := range having {
		if len(words) == 1 {
			keys[key] = "kind " + words[0] + " has it"
		} else {
			keys[key] = "kinds " + strings.Join(words, ", ") + " have it"
		}
	}
	return keys
}

func keysOfKind(s Settings) map[string]reflect.Value { return fieldsByKey(reflect.ValueOf(s).Elem()) }

// available lists the kinds that this build has, for an error's remedy.
func (k Kinds) available() string {
	var words []string
	for _, word := range slices.Sorted(maps.Keys(k.Of)) {
		if k.Of[word].Missing == "" {
			words = append(words, `"`+word+`"`)
		}
	}
	return strings.Join(words, " or ")
}

// Differing are the keys of which two tables have other values, in order: kind, where that is another one.
func (k Kinded) Differing(o Kinded) []string {
	if k.Kind != o.Kind || k.Of == nil || o.Of == nil {
		return []string{"kind"}
	}
	var keys []string
	others := keysOfKind(o.Of)
	for key, value := range keysOfKind(k.Of) {
		if !reflect.DeepEqual(value.Interface(), others[key].Interface()) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
