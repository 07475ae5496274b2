package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/journal"
)

// StateLoss is a way in which a state directory comes to lack what it had held: it was restored, or its disk is bad.
type StateLoss struct {
	Name string
	// Catalog tells that the catalog is an older one afterwards: what it said of entries may be what it said then.
	Catalog bool

	do func(state, older string, random *rand.Rand) error
}

// Do changes the state directory of a daemon that has ended. older is a copy of it from before, which stays as
// it is; random chooses what is damaged.
func (l StateLoss) Do(state, older string, random *rand.Rand) error {
	if err := l.do(state, older, random); err != nil {
		return fmt.Errorf("%s: %w", l.Name, err)
	}
	return nil
}

// StateLosses are all the ways. A copy that lacks what is to be restored was made before there was any, and
// is restored as that.
var StateLosses = []StateLoss{
	{"the whole directory is an older one", true, func(state, older string, _ *rand.Rand) error { return restore(state, older, "*") }},
	{"only the catalog is an older one", true, func(state, older string, _ *rand.Rand) error {
		return restore(state, older, "catalog.db*")
	}},
	{"only the catalog's main file is an older one", true, func(state, older string, _ *rand.Rand) error {
		return restore(state, older, "catalog.db") // a mistake: the newer log of the database stays beside it
	}},
	{"only the journal is an older one", false, func(state, older string, _ *rand.Rand) error { return restore(state, older, "journal") }},
	{"the catalog is lost", true, func(state, _ string, _ *rand.Rand) error { return removeAll(filepath.Join(state, "catalog.db*")) }},
	{"the journal is lost", false, func(state, _ string, _ *rand.Rand) error { return removeAll(filepath.Join(state, "journal")) }},
	{"the journal's end is cut off", false, damage(func(f *os.File, size, tail int64, _ *rand.Rand) error {
		return f.Truncate(size - tail)
	})},
	{"the journal's end is zeroes", false, damage(func(f *os.File, size, tail int64, _ *rand.Rand) error {
		_, err := f.WriteAt(make([]byte, tail), size-tail)
		return err
	})},
	{"bits of the journal's end are flipped", false, damage(flipBits)},
}

// restore puts back what the pattern names in a copy of a directory, and takes away what it names beside.
func restore(state, older, pattern string) error {
	if err := removeAll(filepath.Join(state, pattern)); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(older, pattern))
	for _, path := range found {
		err = errors.Join(err, copyTree(filepath.Join(state, filepath.Base(path)), path))
	}
	return err
}

func removeAll(pattern string) error {
	found, err := filepath.Glob(pattern)
	for _, path := range found {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// copyTree copies a file, or a directory with all that is in it.
func copyTree(to, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, info.Mode().Perm())
}

// CopyState copies a state directory to a new place. The daemon has ended, or the copy is a torn one.
func CopyState(to, state string) error {
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	return restore(to, state, "*")
}

// mostDamaged is at least a few records at the end of a journal.
const mostDamaged = 1500

// damage changes the end of the newest segment, some bytes up to all of it.
func damage(do func(f *os.File, size, tail int64, random *rand.Rand) error) func(string, string, *rand.Rand) error {
	return func(state, _ string, random *rand.Rand) error {
		segments, err := filepath.Glob(filepath.Join(state, "journal", "*.journal"))
		if err != nil || len(segments) == 0 {
			return err
		}
		f, err := os.OpenFile(slices.Max(segments), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if size := info.Size(); err == nil && size > 0 {
			err = do(f, size, 1+random.Int64N(min(size, mostDamaged)), random)
		}
		return errors.Join(err, f.Close())
	}
}

func flipBits(f *os.File, size, tail int64, random *rand.Rand) error {
	for range 3 {
		at, one := size-1-random.Int64N(tail), make([]byte, 1)
		if _, err := f.ReadAt(one, at); err != nil {
			return err
		}
		one[0] ^= 1 << random.IntN(8)
		if _, err := f.WriteAt(one, at); err != nil {
			return err
		}
	}
	return nil
}

// Told compares what `volume list`, `check` and the events say of volumes that were kept: all three tell of each one,
// or none does.
func Told(volumes []plugin.VolumeView, problems []plugin.Problem, events []plugin.Event) error {
	type word struct{ list, check, event bool }
	said := map[string]word{}
	why := map[string]journal.Kept{}
	for _, v := range volumes {
		name := string(v.Volume)
		why[name] = v.Kept
		w := word{list: v.Kept != ""}
		for _, p := range problems {
			w.check = w.check || p.Kind == "kept-volume" && p.ID == name && p.Remedy != ""
		}
		for _, e := range events {
			w.event = w.event || e.Kind == plugin.EventKept && e.Volume == v.Volume && e.Detail != "" && string(e.Reason) == string(v.Kept)
		}
		said[name] = w
	}
	var wrong []error
	for name, w := range said {
		if w.list != w.check || w.list && !w.event {
			wrong = append(wrong, fmt.Errorf("volume %s, kept: %q; volume list tells of it: %t, check: %t, an event: %t", name, why[name], w.list, w.check, w.event))
		}
	}
	return errors.Join(wrong...)
}
