package imagefile

import (
	"os"
	"sync"
	"syscall"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// maxSources is how many files of image-volumes are kept open to be cloned from.
const maxSources = 64

// sources keeps files open between clones: opening one takes a tenth of a clone in memory.
type sources struct {
	mu      sync.Mutex
	open    map[backends.ImageVolumeID]*Source
	dropped int // how often something was dropped
}

// Source is a committed image-volume, open to be cloned from, until Release. What becomes of the
// image-volume meanwhile does not matter.
type Source struct {
	File *os.File
	Size int64

	sources *sources
	users   int  // guarded by sources.mu, as is kept
	kept    bool // it is in sources.open, and so stays open without users
}

// Source opens a committed image-volume to be cloned from. It reads the description once, and compares the
// file's size with it each time.
// backends.ErrNotExist: there is none, it is not committed, or its file has not the size that it was made with.
func (s *Store) Source(id backends.ImageVolumeID) (*Source, error) {
	if kept := s.sources.use(id); kept != nil {
		if kept.whole() == nil {
			return kept, nil
		}
		kept.Release()
		s.sources.drop(id) // somebody removed or cut it behind our back
	}
	dropped := s.sources.drops()
	f, image, err := s.openImage(id)
	if err != nil {
		return nil, err
	}
	source := &Source{File: f, Size: image.VirtualBytes, sources: &s.sources, users: 1}
	s.sources.keep(id, source, dropped)
	return source, nil
}

// whole tells whether the file still has its name and its size. backends.ErrNotExist: it has not.
func (s *Source) whole() error {
	info, err := s.File.Stat()
	if err != nil {
		return rawfile.Explain(err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink == 0 {
		return backends.ErrNotExist
	}
	return s.Holds(info.Size())
}

// Holds compares the size of what was made from the file with the image-volume's. backends.ErrNotExist:
// they differ, since somebody has cut the file or made it longer meanwhile.
func (s *Source) Holds(size int64) error { return sized(size, s.Size) }

// Release ends the use of the source.
func (s *Source) Release() {
	s.sources.mu.Lock()
	s.users--
	unused := s.users == 0 && !s.kept
	s.sources.mu.Unlock()
	if unused {
		_ = s.File.Close() // nothing was written
	}
}

func (s *sources) use(id backends.ImageVolumeID) *Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := s.open[id]
	if source != nil {
		source.users++
	}
	return source
}

func (s *sources) drops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// keep keeps a source that was opened when so many had been dropped. If any was dropped since, it could
// be of this very image-volume, which must not be found any more.
func (s *sources) keep(id backends.ImageVolumeID, source *Source, dropped int) {
	s.mu.Lock()
	if s.open == nil {
		s.open = map[backends.ImageVolumeID]*Source{}
	}
	if s.dropped != dropped || s.open[id] != nil {
		s.mu.Unlock()
		return
	}
	s.open[id], source.kept = source, true
	surplus := s.surplus()
	s.mu.Unlock()
	if surplus != nil {
		_ = surplus.File.Close()
	}
}

// surplus takes out one that nobody uses, if there are too many. mu is held.
func (s *sources) surplus() *Source {
	if len(s.open) <= maxSources {
		return nil
	}
	for id, source := range s.open {
		if source.users == 0 {
			delete(s.open, id)
			source.kept = false
			return source
		}
	}
	return nil
}

// drop keeps the source of an image-volume open no longer than it is used.
func (s *sources) drop(id backends.ImageVolumeID) {
	s.mu.Lock()
	s.dropped++
	source := s.open[id]
	delete(s.open, id)
	unused := false
	if source != nil {
		source.kept = false
		unused = source.users == 0
	}
	s.mu.Unlock()
	if unused {
		_ = source.File.Close()
	}
}

// close drops all.
func (s *sources) close() {
	s.mu.Lock()
	var ids []backends.ImageVolumeID
	for id := range s.open {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	for _, id := range ids {
		s.drop(id)
	}
}
