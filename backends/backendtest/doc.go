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
