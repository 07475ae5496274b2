// Package filecache is plain file caching: images as sparse files in a directory of this host, for
// backends that cannot clone and for requests that the image-volume path refuses. Volumes are copied
// from its files.
//
// The directory is the cache's alone: image-volumes/ has one file per image, by-image/ has a link per
// image ID for people, .clonecache/ has staging/, stamps/, lock, store-id and holder. Of anything else that lies there
// the cache takes no notice. Who reads from an image is never disturbed by its retirement. After a
// crash each image is whole or not there, and the links are put right by the next Open.
package filecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/imagefile"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// kind is this store's in Info and in the configuration.
const kind = "filecache"

const (
	imagesDir = "image-volumes"
	linksDir  = "by-image"
	ownDir    = ".clonecache"
)

// Config says what to open. Name and Path are required.
type Config struct {
	Name backends.Name
	Path string // directory for this cache alone, absolute; it is made if it is missing
	// Record is as that of a file backend: it remembers which cache this is. "": none.
	Record string
	Now    func() time.Time   // default: time.Now
	Log    logrus.FieldLogger // default: silent
}

// Cache is a directory with images. It implements backends.Store, and may be used by several goroutines.
type Cache struct {
	*rawfile.Belonging
	name   backends.Name
	path   string
	log    logrus.FieldLogger
	info   backends.Info
	images *imagefile.Store
	links  links
	lock   *os.File
}

var _ backends.Store = (*Cache)(nil)

// Open opens the directory for this process alone, until Close, and puts its links right.
// backends.ErrInUse: another process has it open.
// backends.ErrUnavailable: it is not the cache that Record remembers; nothing was made there.
// backends.ErrNotOurs: there are files in it, and it is no file cache.
func Open(ctx context.Context, c Config) (*Cache, error) {
	cache, err := open(ctx, c, rawfile.Probe)
	if err != nil {
		return nil, fmt.Errorf("open file cache %s: %w", c.Name, err)
	}
	return cache, nil
}

// probe finds out what the filesystem of a directory has. Tests take features away by it.
type probe func(dir string) (rawfile.Features, error)

func open(ctx context.Context, c Config, probe probe) (*Cache, error) {
	if c.Name == "" || !filepath.IsAbs(c.Path) {
		return nil, fmt.Errorf("name %q, path %q: a name and an absolute path are required", c.Name, c.Path)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	cache := &Cache{name: c.Name, path: filepath.Clean(c.Path), log: c.Log}
	known := rawfile.Known{Dir: cache.path, Marker: rawfile.Marker(cache.own()), Record: c.Record}
	err := known.Hold(cache.own("lock"), cache.makeDirs, func(lock *os.File) error {
		cache.lock = lock
		cache.Belonging = rawfile.NewBelonging(cache.own(), c.Now)
		return cache.prepare(ctx, c, probe)
	})
	switch {
	case err != nil && cache.lock != nil:
		return nil, errors.Join(err, cache.Close())
	case err != nil:
		return nil, err
	}
	return cache, nil
}

func (c *Cache) own(elem ...string) string {
	return filepath.Join(append([]string{c.path, ownDir}, elem...)...)
}

// makeDirs makes the cache's directories. It refuses a directory in which others keep files.
func (c *Cache) makeDirs() error {
	found, err := os.ReadDir(c.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return rawfile.Explain(err)
	}
	if _, err := os.Lstat(c.own()); err != nil && holdsFiles(found) {
		return fmt.Errorf("%s has files in it and is no file cache: %w", c.path, backends.ErrNotOurs)
	}
	for _, dir := range []string{c.own("staging"), c.own("stamps")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return rawfile.Explain(err)
		}
	}
	for _, dir := range []string{imagesDir, linksDir} {
		if err := os.MkdirAll(filepath.Join(c.path, dir), 0o755); err != nil {
			return rawfile.Explain(err)
		}
	}
	return nil
}

// holdsFiles tells whether there is more than what a fresh filesystem has.
func holdsFiles(found []os.DirEntry) bool {
	for _, entry := range found {
		if entry.Name() != "lost+found" {
			return true
		}
	}
	return false
}

// prepare does what needs the lock.
func (c *Cache) prepare(ctx context.Context, config Config, probe probe) error {
	features, err := probe(c.own("staging"))
	if err != nil {
		return err
	}
	c.info = backends.Info{
		Kind: kind, Location: c.path, IndependentClones: true,
		NoClone: "a file cache has no volumes; they are copied from it to a backend",
	}
	features.DirectWrites = false // the volume that an image is fetched for is copied from it at once
	stamps := rawfile.Stamps{Xattrs: features.Xattrs, Side: c.own("stamps")}
	images := filepath.Join(c.path, imagesDir)
	c.images, err = imagefile.Open(imagefile.Config{
		Dir: images, Staging: c.own("staging"), Features: features, Stamps: stamps, Now: config.Now,
	})
	if err != nil {
		return err
	}
	err = stamps.Sweep(func() (map[string]bool, error) { return rawfile.Identities(images, c.own("staging")) })
	if err != nil {
		return err
	}
	c.links = links{dir: filepath.Join(c.path, linksDir)}
	c.repairLinks(ctx)
	return nil
}

// Info implements backends.Store.
func (c *Cache) Info() backends.Info { return c.info }

// Close implements backends.Store. Stages that are open are discarded.
func (c *Cache) Close() error {
	var errs []error
	if c.images != nil {
		errs = append(errs, c.images.Close())
	}
	if err := errors.Join(append(errs, c.lock.Close())...); err != nil {
		return fmt.Errorf("close file cache %s: %w", c.name, err)
	}
	return nil
}

// Capacity implements backends.Store.
func (c *Cache) Capacity(ctx context.Context) (backends.Capacity, error) {
	return c.images.Capacity(ctx)
}

// OpenImage opens a committed image for reading, and describes it. The file stays readable until the
// caller closes it, whatever happens to the image.
// backends.ErrNotExist: there is none, or it is not committed.
func (c *Cache) OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error) {
	return c.images.OpenImage(ctx, id)
}

// Stage implements backends.Store.
func (c *Cache) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	s, err := c.images.Stage(ctx, spec)
	if err != nil {
		return nil, err
	}
	return linkingStage{s, c}, nil
}

// linkingStage links its image for people once it is committed.
type linkingStage struct {
	backends.ImageVolumeStage
	cache *Cache
}

// ReadAt reads what was written, while it is staged. Afterwards it answers backends.ErrNotExist.
func (s linkingStage) ReadAt(p []byte, off int64) (int, error) {
	if r, ok := s.ImageVolumeStage.(io.ReaderAt); ok {
		return r.ReadAt(p, off)
	}
	return 0, backends.ErrNotExist
}

// Commit implements backends.ImageVolumeStage.
func (s linkingStage) Commit(ctx context.Context, final backends.Description) (backends.ImageVolume, error) {
	v, err := s.ImageVolumeStage.Commit(ctx, final)
	if err == nil {
		s.cache.note(s.cache.links.add(v))
	}
	return v, err
}

// Retire implements backends.Store. The image is gone at once; copies that read from it go on.
func (c *Cache) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	r, err := c.images.Retire(ctx, id)
	if err == nil {
		c.note(c.links.remove(id))
	}
	return r, err
}

// Reap implements backends.Store. It puts the links right where that could not be done before; there is
// nothing else that a Retire leaves.
func (c *Cache) Reap(ctx context.Context) (backends.Reaped, error) {
	if c.links.isStale() {
		c.repairLinks(ctx)
	}
	return c.images.Reap(ctx)
}

// ListImageVolumes implements backends.Store.
func (c *Cache) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return c.images.List(ctx)
}

// repairLinks makes by-image/ say what is committed.
func (c *Cache) repairLinks(ctx context.Context) {
	c.note(c.links.repair(c.images.List(context.WithoutCancel(ctx))))
}

// note logs that the links could not be put right. They are for people: that fails nothing.
func (c *Cache) note(err error) {
	if err != nil && c.log != nil {
		c.log.WithField("backend", c.name).WithError(err).Warn("the links in by-image are not up to date")
	}
}

// Look sees which store a directory is, and whose, without making or opening anything.
func Look(dir string) (backends.Belongs, error) { return rawfile.Look(filepath.Join(dir, ownDir)) }
