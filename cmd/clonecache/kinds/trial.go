package kinds

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
)

// Trial is what trying a configuration found.
type Trial struct {
	Problems []config.Problem
	Warnings []config.Problem
	Facts    []string // what is good to know: reflinks, sources that answer

	StateDir string
	stores   []seen // the stores that were looked at so far
	stateBad bool   // state_dir cannot be used, which has been reported: what lies in it is not looked at
}

// seen is a store that was looked at.
type seen struct {
	name backends.Name
	is   backends.Identity
}

// Part is one table of the file while what it names is tried.
type Part struct {
	Name  string // the key "name" of the table
	trial *Trial
	at    string // such as "backend[0]"
}

// Part is the trial of the table at, which has that name.
func (t *Trial) Part(at, name string) *Part { return &Part{Name: name, trial: t, at: at} }

func (t *Part) key(key string) string {
	if key == "" {
		return t.at
	}
	return t.at + "." + key
}

// Problem reports what is wrong with a key of the table; "" is the table itself.
func (t *Part) Problem(key string, err error, remedy string) {
	t.trial.Problem(t.key(key), err, remedy)
}

// Warn reports what is allowed but probably not meant.
func (t *Part) Warn(what string) {
	t.trial.Warnings = append(t.trial.Warnings, config.Problem{Key: t.at, What: what})
}

// Fact reports what is good to know.
func (t *Part) Fact(format string, args ...any) { t.trial.Fact(format, args...) }

// secrets checks files that hold secrets, by their keys; false where one of them holds none.
func (t *Part) secrets(files map[string]config.SecretFile) bool {
	good := true
	for _, key := range slices.Sorted(maps.Keys(files)) {
		if err := files[key].Check(); err != nil {
			t.Problem(key, err, "")
			good = false
		}
	}
	return good
}

// belongs compares a store with those that were looked at before, and its holder with this installation: a start
// refuses what it reports. own is what to give it where it is not ours alone.
func (t *Part) belongs(key string, is backends.Belongs, own string) {
	name := backends.Name(t.Name)
	for _, other := range t.trial.stores {
		if err := plugin.OnePlace(other.name, other.is, name, is.Identity); err != nil {
			t.Problem(key, err, "")
			return
		}
	}
	t.trial.stores = append(t.trial.stores, seen{name, is.Identity})
	if t.trial.stateBad {
		return
	}
	ours, err := plugin.KnownCatalogOf(t.trial.StateDir)
	if err != nil || is.By.Catalog == "" || is.By.Catalog == ours {
		return
	}
	t.Problem(key, &backends.HeldError{By: is.By},
		fmt.Sprintf("if that installation is gone for good, run `clonecache backend take-over %s`, else give this one %s", name, own))
}

// Problem reports what is wrong with a key of the file.
func (t *Trial) Problem(key string, err error, remedy string) {
	t.Problems = append(t.Problems, config.Problem{Key: key, What: err.Error(), Remedy: remedy})
}

// Fact reports what is good to know.
func (t *Trial) Fact(format string, args ...any) {
	t.Facts = append(t.Facts, fmt.Sprintf(format, args...))
}

// IsRunning tells whether a daemon has state_dir.
func (t *Trial) IsRunning() bool { return isLocked(filepath.Join(t.StateDir, "lock")) }

// isLocked tells whether a process holds a lock file. It takes the lock, if nobody has it, for the moment of the
// look. One that this user may not open is taken for held.
func isLocked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return errors.Is(err, os.ErrPermission)
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
