package rawfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/clonecache/clonecache/backends"
)

// Known tells whether a directory is the one that it was before. A filesystem that is not mounted leaves an
// empty directory in its place, which would pass for a store that was emptied.
type Known struct {
	Dir    string // of the store, for people
	Marker string // file inside of Dir with a random ID
	Record string // file elsewhere with the same ID; "": nothing is compared
}

// Check compares the two before anything is made in Dir. Without a record it has nothing to compare with.
// backends.ErrUnavailable: the store is not the one that is known.
func (k Known) Check() error {
	if k.Record == "" {
		return nil
	}
	want, err := readID(k.Record)
	if err != nil || want == "" {
		return err
	}
	got, err := readID(k.Marker)
	if err != nil || got == want {
		return err
	}
	found := "it is another one"
	if got == "" {
		found = "its marker is missing"
	}
	return fmt.Errorf("%w: %s is not the store that it was (%s): is its filesystem mounted? if the store was emptied or exchanged on purpose, remove %s",
		backends.ErrUnavailable, k.Dir, found, k.Record)
}

// Hold opens a store's directory for this process alone: Check, then makeDirs, which makes what is missing in it, then the
// lock, then prepare, which does what needs the lock, then Note. prepare gets the lock and keeps it: from then on the
// caller gives it back, also where Hold fails. backends.ErrInUse: another process has the directory open.
func (k Known) Hold(lockFile string, makeDirs func() error, prepare func(lock *os.File) error) error {
	if err := k.Check(); err != nil {
		return err
	}
	if err := makeDirs(); err != nil {
		return err
	}
	lock, err := Lock(lockFile)
	if err != nil {
		return err
	}
	if err := prepare(lock); err != nil {
		return err
	}
	return k.Note()
}

// Note makes marker and record where they are missing, durably: the marker first, so that no crash leaves a
// record of a store that does not bear it.
func (k Known) Note() error {
	id, err := mark(k.Marker)
	if err != nil || k.Record == "" {
		return err
	}
	if known, err := readID(k.Record); err != nil || known == id {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.Record), 0o750); err != nil {
		return Explain(err)
	}
	return writeID(k.Record, id)
}

// mark is the ID that a marker bears, which gets a new one if it has none.
func mark(marker string) (string, error) {
	id, err := readID(marker)
	if err != nil || id != "" {
		return id, err
	}
	id = rand.Text()
	return id, writeID(marker, id)
}

// readID is what a file says; "" where there is none.
func readID(path string) (string, error) {
	id, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(id)), Explain(err)
}

func writeID(path, id string) error { return writeWhole(path, []byte(id+"\n")) }

// writeWhole lets the file appear whole, durably.
func writeWhole(path string, content []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Explain(err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return Explain(err)
}
