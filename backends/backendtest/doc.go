// Package backendtest is the suite by which a backend or a file cache is accepted: one check for each
// promise that the doc comments of package backends make. It asks a backend for the facts that it
// declares (backends.Info) and never for its kind.
//
// Beside the suite it has Memory, a whole backend in memory, and Faulty, which lets calls of a backend
// fail or wait when a test says so: for tests of those who use backends. It is imported by tests only.
package backendtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/clonecache/clonecache/backends"
)

// VolumeReader is a volume's content.
type VolumeReader interface {
	io.ReaderAt
	io.Closer
}

// Reader is how the suite reads volumes where they have no Path: a backend, or what the test wraps it
// in, implements it.
type Reader interface {
	OpenVolume(ctx context.Context, name backends.VolumeName) (VolumeReader, error)
}

// Foreigner makes a volume without clonecache's mark, as a stranger would, for the checks that such
// stay untouched. Where volumes have a Path the suite needs none.
type Foreigner interface {
	MakeForeign(ctx context.Context, name backends.VolumeName, data []byte) error
}

// Usage is what somebody does with a volume whom clonecache did not tell of it.
type Usage string

// The usages.
const (
	Opens     Usage = "opens"     // to write to it, for as long as it is used
	Snapshots Usage = "snapshots" // makes one, which is gone when it is no longer used
	Writes    Usage = "writes"    // a byte, and closes it again
)

// User uses volumes as somebody would who found one by its name. Where volumes have a Path the suite needs
// none. ErrNoUsage: volumes here cannot be used in that way.
type User interface {
	UseVolume(ctx context.Context, name backends.VolumeName, how Usage) (end func() error, err error)
}

// ErrNoUsage: volumes cannot be used in that way.
var ErrNoUsage = errors.New("volumes of this backend cannot be used in that way")

// useVolume uses a volume by whichever way there is.
func useVolume(ctx context.Context, b backends.Backend, name backends.VolumeName, how Usage) (end func() error, err error) {
	if u, ok := b.(User); ok {
		return u.UseVolume(ctx, name, how)
	}
	v, err := b.StatVolume(ctx, name)
	if err != nil || v.Path == "" || how == Snapshots {
		return nil, errors.Join(err, ErrNoUsage)
	}
	f, err := os.OpenFile(v.Path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if how == Opens {
		return f.Close, nil
	}
	return func() error { return nil }, errors.Join(writeUntilSeen(f), f.Close())
}

// writeUntilSeen writes zeroes at the end of a file until the filesystem's clock, which ticks every few
// milliseconds, tells the write from what was before.
func writeUntilSeen(f *os.File) error {
	before, err := f.Stat()
	for now := before; err == nil && now.ModTime().Equal(before.ModTime()); {
		if _, err = f.WriteAt([]byte{0}, before.Size()-1); err == nil {
			now, err = f.Stat()
		}
	}
	return err
}

// OwnersService makes and removes volumes as the internal tenant's own service does, beside clonecache. A
// backend that adopts volumes, or what the test wraps it in, implements it for the checks of adoption.
type OwnersService interface {
	// MakeOwned makes an empty volume.
	MakeOwned(ctx context.Context, name backends.VolumeName, size int64) error
	// DeleteOwned removes a volume. It is an error if something on the backend hinders that.
	DeleteOwned(ctx context.Context, name backends.VolumeName) error
	// WriteOwned writes to the beginning of such a volume.
	WriteOwned(ctx context.Context, name backends.VolumeName, data []byte) error
	// OpenOwned opens such a volume's content.
	OpenOwned(ctx context.Context, name backends.VolumeName) (VolumeReader, error)
}

// openVolume opens a volume's content by whichever way the backend has.
func openVolume(ctx context.Context, b backends.Backend, name backends.VolumeName) (VolumeReader, error) {
	if r, ok := backends.Capability[Reader](b); ok {
		return r.OpenVolume(ctx, name)
	}
	v, err := b.StatVolume(ctx, name)
	if err != nil {
		return nil, err
	}
	if v.Path == "" {
		return nil, fmt.Errorf("volume %q has no path, and the backend is no backendtest.Reader", name)
	}
	return os.Open(v.Path)
}

// errNoForeigner: there is no way to make a foreign volume on that backend.
var errNoForeigner = errors.New("the backend is no backendtest.Foreigner, and its volumes have no path")

// makeForeign makes a volume that is not ours by whichever way there is.
func makeForeign(ctx context.Context, b backends.Backend, name backends.VolumeName, data []byte) error {
	if f, ok := backends.Capability[Foreigner](b); ok {
		return f.MakeForeign(ctx, name, data)
	}
	if info := b.Info(); info.Paths {
		return os.WriteFile(filepath.Join(info.Location, string(name)), data, 0o600)
	}
	return errNoForeigner
}

// openForeign opens what makeForeign made.
func openForeign(ctx context.Context, b backends.Backend, name backends.VolumeName) (VolumeReader, error) {
	if r, ok := backends.Capability[Reader](b); ok {
		return r.OpenVolume(ctx, name)
	}
	return os.Open(filepath.Join(b.Info().Location, string(name)))
}
