// Package imagefile keeps image-volumes as raw sparse files in a directory. It is what the file
// backend and the file cache have in common: staging, committing, retiring and listing.
//
// An image-volume is staged in a file without a name (or, where the filesystem has no O_TMPFILE, in the
// staging directory), and gets its name in the directory only once its content and its description
// are durable. So whatever bears a name there is committed, and removing it is one unlink. The package
// does not know where the bytes come from, nor what is made from them.
package imagefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// Store is the image-volumes of one directory. It may be used by several goroutines; of processes only
// one may have it open, which the caller ensures.
type Store struct {
	place   *rawfile.Place
	dir     string
	staging string
	mark    string
	now     func() time.Time
	sources sources

	mu     sync.Mutex
	stages map[backends.ImageVolumeID]*stage // those of this process
}

// Config says where a Store lies.
type Config struct {
	Dir      string // one file per committed image-volume, named by its ID
	Staging  string // only for this Store, on the same filesystem
	Features rawfile.Features
	Stamps   rawfile.Stamps
	Mark     string // of the installation; image-volumes with another one are not ours
	Now      func() time.Time
}

// Open opens the store. What a process that died had staged is left for List and Retire, but for the
// second names of what it had committed.
func Open(c Config) (*Store, error) {
	place, err := rawfile.OpenPlace(rawfile.PlaceConfig{
		Dir: c.Dir, Staging: c.Staging, Features: c.Features, Stamps: c.Stamps,
	})
	if err != nil {
		return nil, fmt.Errorf("image-volumes: %w", err)
	}
	s := &Store{
		place: place, dir: c.Dir, staging: c.Staging, mark: c.Mark, now: c.Now,
		stages: map[backends.ImageVolumeID]*stage{},
	}
	if err := s.dropSecondNames(); err != nil {
		return nil, errors.Join(fmt.Errorf("image-volumes: %w", err), place.Close())
	}
	return s, nil
}

// dropSecondNames removes the staged names of image-volumes that have their own. A crash leaves both where
// a rename is two steps (NFS), or where a log brings the older name back (btrfs). Otherwise the
// image-volume would pass for one that is still staged.
func (s *Store) dropSecondNames() error {
	staged, err := os.ReadDir(s.staging)
	if err != nil {
		return rawfile.Explain(err)
	}
	for _, entry := range staged {
		committed, err := s.place.Exists(entry.Name())
		if err == nil && committed {
			err = os.Remove(s.place.StagingPath(entry.Name()))
		}
		if err != nil {
			return fmt.Errorf("second name of image-volume %s: %w", entry.Name(), rawfile.Explain(err))
		}
	}
	return nil
}

// Close discards what is still being staged and gives the directories back.
func (s *Store) Close() error {
	s.sources.close()
	s.mu.Lock()
	open := make([]*stage, 0, len(s.stages))
	for _, st := range s.stages {
		open = append(open, st)
	}
	s.mu.Unlock()
	var errs []error
	for _, st := range open {
		_, err := st.end()
		errs = append(errs, err)
	}
	return errors.Join(append(errs, s.place.Close())...)
}

// Capacity implements backends.Store: the filesystem's, free as for a user without privileges.
func (s *Store) Capacity(ctx context.Context) (backends.Capacity, error) {
	if err := ctx.Err(); err != nil {
		return backends.Capacity{}, err
	}
	return rawfile.Capacity(s.dir)
}

// OpenImage opens a committed image-volume for reading, and describes it. The file stays readable
// whatever happens to the image-volume; the caller closes it.
// backends.ErrNotExist: there is none, it is not committed, or its file has not the size that it was made with.
func (s *Store) OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error) {
	if err := ctx.Err(); err != nil {
		return nil, backends.ImageVolume{}, err
	}
	return s.openImage(id)
}

func (s *Store) openImage(id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error) {
	f, info, err := s.open(id)
	if err != nil {
		return nil, backends.ImageVolume{}, err
	}
	r, err := s.record(f)
	if err == nil {
		err = r.fits(info.Size())
	}
	if err != nil {
		_ = f.Close()
		return nil, backends.ImageVolume{}, onImage("read record of", id, err)
	}
	return f, s.describe(id, info, r), nil
}

func (s *Store) open(id backends.ImageVolumeID) (*os.File, fs.FileInfo, error) {
	if err := checkID(id); err != nil {
		return nil, nil, err
	}
	f, info, err := s.place.Open(string(id))
	return f, info, onImage("open", id, err)
}

// checkID keeps an ID from being anything but the name of a file.
func checkID(id backends.ImageVolumeID) error {
	alphabet := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	plain := strings.IndexFunc(string(id), func(r rune) bool { return !alphabet(r) }) < 0
	if id == "" || len(id) > 255 || id[0] == '.' || !plain {
		return fmt.Errorf("image-volume %q: %w", id, backends.ErrBadName)
	}
	return nil
}

func onImage(does string, id backends.ImageVolumeID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s image-volume %s: %w", does, id, err)
}
