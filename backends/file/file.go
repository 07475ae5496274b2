// Package file is the backend whose volumes are raw files in a directory of the host.
//
// A volume is the file of its name in the directory; everything else of ours lies below .clonecache/
// there: image-volumes/, staging/, stamps/, lock, store-id and holder. Where the filesystem has reflinks (XFS, btrfs) a
// clone shares its blocks with the image-volume and depends on nothing; elsewhere the backend cannot
// clone, says so in its Info, and makes copies.
//
// The package never touches a file that does not carry its stamp, and never replaces one. After a
// crash there is each volume whole or not at all; what was staged is gone, or (on filesystems without
// O_TMPFILE) lies in staging/, where Open removes unfinished volumes and ListImageVolumes reports
// unfinished image-volumes.
package file

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/imagefile"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// kind is this backend's in Info and in the configuration.
const kind = "file"

// ownDir is the directory below Config.Path where everything lies that is no volume.
const ownDir = ".clonecache"

// Config says what to open. Name and Path are required.
type Config struct {
	Name backends.Name
	Path string // directory of the volumes, absolute; it is made if it is missing

	// Mark tells installations apart that use one directory one after the other: what carries another
	// mark is not ours. Empty is a mark as well. It must survive the loss of the catalog.
	Mark string

	// Record is a file outside of Path that remembers which store this is: Open makes it, and refuses a
	// directory that is not the store it remembers, as one is whose filesystem is not mounted. "": none.
	Record string

	// Owner is whose volumes are. It is set before a volume appears under its name. Image-volumes stay the
	// process's own.
	Owner Owner

	Now func() time.Time   // default: time.Now
	Log logrus.FieldLogger // default: silent
}

// Backend is a directory with volumes. It implements backends.Backend and backends.FileCopier, and
// may be used by several goroutines.
type Backend struct {
	*rawfile.Belonging
	name    backends.Name
	path    string
	mark    string
	log     logrus.FieldLogger
	info    backends.Info
	images  *imagefile.Store
	volumes *rawfile.Place
	lock    *os.File
	now     func() time.Time
	access  access
}

var (
	_ backends.Backend    = (*Backend)(nil)
	_ backends.FileCopier = (*Backend)(nil)
)

// Open opens the directory for this process alone, until Close, and finds out what its filesystem can
// do by trying. It removes volumes that a process which died had not finished.
// backends.ErrInUse: another process has the directory open. backends.ErrUnavailable: it is not the store
// that Record remembers; nothing was made there.
func Open(ctx context.Context, c Config) (*Backend, error) {
	b, err := open(ctx, c, rawfile.Probe)
	if err != nil {
		return nil, fmt.Errorf("open file backend %s: %w", c.Name, err)
	}
	return b, nil
}

// probe finds out what the filesystem of a directory has. Tests take features away by it.
type probe func(dir string) (rawfile.Features, error)

func open(ctx context.Context, c Config, probe probe) (*Backend, error) {
	if c.Name == "" || !filepath.IsAbs(c.Path) {
		return nil, fmt.Errorf("name %q, path %q: a name and an absolute path are required", c.Name, c.Path)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := &Backend{name: c.Name, path: filepath.Clean(c.Path), mark: c.Mark, log: c.Log, now: c.Now}
	if b.now == nil {
		b.now = time.Now
	}
	access, err := c.Owner.access()
	if err != nil {
		return nil, err
	}
	b.access = access
	known := rawfile.Known{Dir: b.path, Marker: rawfile.Marker(b.own()), Record: c.Record}
	err = known.Hold(b.own("lock"), b.makeDirs, func(lock *os.File) error {
		b.lock = lock
		b.Belonging = rawfile.NewBelonging(b.own(), c.Now)
		return b.prepare(probe)
	})
	switch {
	case err != nil && b.lock != nil:
		return nil, errors.Join(err, b.Close())
	case err != nil:
		return nil, err
	}
	return b, nil
}

func (b *Backend) own(elem ...string) string {
	return filepath.Join(append([]string{b.path, ownDir}, elem...)...)
}

func (b *Backend) makeDirs() error {
	if err := os.MkdirAll(b.path, 0o755); err != nil {
		return rawfile.Explain(err)
	}
	for _, dir := range []string{"image-volumes", "staging/image-volumes", "staging/volumes", "stamps"} {
		if err := os.MkdirAll(b.own(dir), 0o700); err != nil {
			return rawfile.Explain(err)
		}
	}
	return nil
}

// prepare does what needs the lock.
func (b *Backend) prepare(probe probe) error {
	features, err := probe(b.own("staging"))
	if err != nil {
		return err
	}
	b.info = info(b.path, features)
	stamps := rawfile.Stamps{Xattrs: features.Xattrs, Side: b.own("stamps")}
	b.volumes, err = rawfile.OpenPlace(rawfile.PlaceConfig{
		Dir: b.path, Staging: b.own("staging/volumes"), Features: features, Stamps: stamps,
	})
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	b.images, err = imagefile.Open(imagefile.Config{
		Dir: b.own("image-volumes"), Staging: b.own("staging/image-volumes"),
		Features: features, Stamps: stamps, Mark: b.mark, Now: b.now,
	})
	if err != nil {
		return err
	}
	return b.sweep()
}

func info(path string, f rawfile.Features) backends.Info {
	i := backends.Info{Kind: kind, Location: path, CanClone: f.Reflinks, IndependentClones: true, Paths: true}
	if f.Reflinks {
		i.CloneMethod = "reflink"
	} else {
		i.NoClone = fmt.Sprintf("the filesystem at %s (%s) has no reflinks; put the volumes on XFS or btrfs to get clones", path, f.Filesystem)
	}
	return i
}

// sweep removes what a process that died left of volumes, and side files of files that are gone.
func (b *Backend) sweep() error {
	unfinished, err := os.ReadDir(b.own("staging/volumes"))
	if err != nil {
		return rawfile.Explain(err)
	}
	for _, draft := range unfinished {
		if err := os.Remove(b.volumes.StagingPath(draft.Name())); err != nil {
			return fmt.Errorf("remove unfinished volume: %w", rawfile.Explain(err))
		}
		if b.log != nil {
			b.log.WithFields(logrus.Fields{"backend": b.name, "volume": draft.Name()}).
				Warn("removed a volume that a process which died had not finished")
		}
	}
	return b.volumes.Stamps().Sweep(b.liveFiles)
}

// liveFiles identifies all files that a side file may belong to.
func (b *Backend) liveFiles() (map[string]bool, error) {
	return rawfile.Identities(b.path, b.own("image-volumes"), b.own("staging/image-volumes"))
}

// Info implements backends.Store.
func (b *Backend) Info() backends.Info { return b.info }

// Close implements backends.Store. Stages that are open are discarded.
func (b *Backend) Close() error {
	var errs []error
	if b.images != nil {
		errs = append(errs, b.images.Close())
	}
	if b.volumes != nil {
		errs = append(errs, b.volumes.Close())
	}
	if err := errors.Join(append(errs, b.lock.Close())...); err != nil {
		return fmt.Errorf("close file backend %s: %w", b.name, err)
	}
	return nil
}

// Capacity implements backends.Store.
func (b *Backend) Capacity(ctx context.Context) (backends.Capacity, error) {
	return b.images.Capacity(ctx)
}

// Stage implements backends.Store.
func (b *Backend) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	return b.images.Stage(ctx, spec)
}

// Retire implements backends.Store. The image-volume is gone at once.
func (b *Backend) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	return b.images.Retire(ctx, id)
}

// Reap implements backends.Store. There is never anything to do.
func (b *Backend) Reap(ctx context.Context) (backends.Reaped, error) { return b.images.Reap(ctx) }

// ListImageVolumes implements backends.Store.
func (b *Backend) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return b.images.List(ctx)
}

// OpenImage opens a committed image-volume for reading; see imagefile.Store.
func (b *Backend) OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error) {
	return b.images.OpenImage(ctx, id)
}

// Look sees which store a directory is, and whose, without making or opening anything.
func Look(dir string) (backends.Belongs, error) { return rawfile.Look(filepath.Join(dir, ownDir)) }
