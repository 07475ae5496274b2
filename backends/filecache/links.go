package filecache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// links is the directory by-image/. Where several images have one ID (a newer revision, an owner of its
// own), the newest has the link. Which images there are is kept in memory, so that one that comes or goes
// costs as much among many as alone.
type links struct {
	dir string

	mu     sync.Mutex // also one change of the directory at a time
	images map[string][]linked
	names  map[backends.ImageVolumeID][]string
	stale  bool // a change did not reach the directory
}

// linked is an image that has a claim to a link.
type linked struct {
	id      backends.ImageVolumeID
	created time.Time
}

// repair makes the directory's links be those of the committed images. It touches nothing there but
// links into image-volumes/.
func (l *links) repair(images iter.Seq2[backends.ImageVolume, error]) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stale = true
	if err := l.read(images); err != nil {
		return err
	}
	found, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range found {
		if _, wanted := l.images[entry.Name()]; !wanted {
			errs = append(errs, l.put(entry.Name()))
		}
	}
	for name := range l.images {
		errs = append(errs, l.put(name))
	}
	err = errors.Join(errs...)
	l.stale = err != nil
	return err
}

// read takes in which images there are.
func (l *links) read(images iter.Seq2[backends.ImageVolume, error]) error {
	l.images, l.names = map[string][]linked{}, map[backends.ImageVolumeID][]string{}
	for v, err := range images {
		if err != nil && v.ID == "" {
			return err
		}
		if err == nil && v.State == backends.Committed {
			l.take(v)
		}
	}
	return nil
}

func (l *links) take(v backends.ImageVolume) {
	for _, image := range v.Description.ImageIDs {
		name := linkName(image, v.Description.Form)
		l.images[name] = append(l.images[name], linked{v.ID, v.Description.CreatedAt})
		l.names[v.ID] = append(l.names[v.ID], name)
	}
}

// add links an image that was committed, unless it was retired since.
func (l *links) add(v backends.ImageVolume) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := os.Lstat(filepath.Join(l.dir, linkPrefix+string(v.ID))); err != nil {
		return nil //nolint:nilerr // gone, or the next Open sees it
	}
	l.take(v)
	return l.putAll(l.names[v.ID])
}

// remove takes the links from an image that was retired, or gives them to the next.
func (l *links) remove(id backends.ImageVolumeID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := l.names[id]
	delete(l.names, id)
	for _, name := range names {
		rest := slices.DeleteFunc(l.images[name], func(i linked) bool { return i.id == id })
		if l.images[name] = rest; len(rest) == 0 {
			delete(l.images, name)
		}
	}
	return l.putAll(names)
}

// isStale tells whether the directory must be repaired.
func (l *links) isStale() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stale
}

func (l *links) putAll(names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, l.put(name))
	}
	err := errors.Join(errs...)
	l.stale = l.stale || err != nil
	return err
}

// put makes one link be what it should. Somebody's own file of that name stays. mu is held.
func (l *links) put(name string) error {
	var want string
	if images := l.images[name]; len(images) > 0 {
		newest := slices.MaxFunc(images, func(a, b linked) int { return a.created.Compare(b.created) })
		want = linkPrefix + string(newest.id)
	}
	path := filepath.Join(l.dir, name)
	target, err := os.Readlink(path)
	there := !errors.Is(err, fs.ErrNotExist)
	switch {
	case there && (err != nil || !strings.HasPrefix(target, linkPrefix)), target == want:
		return nil
	case want == "":
		return os.Remove(path)
	}
	return l.replace(name, want)
}

const linkPrefix = "../" + imagesDir + "/"

// replace lets a link appear, in place of an older one, in one step.
func (l *links) replace(name, target string) error {
	fresh := filepath.Join(l.dir, ".new")
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(l.dir, name))
}

// linkName is the image's ID as a file's name: '/', '%', control characters and a leading '.' are
// written %XX, and what is too long ends in a part of its SHA-256. The image's own bytes are told from
// the disk's content by the ending .source.
func linkName(image string, form backends.Form) string {
	var name strings.Builder
	for i := range len(image) {
		c := image[i]
		if c == '/' || c == '%' || c < ' ' || c == 0x7f || c == '.' && i == 0 {
			name.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		} else {
			name.WriteByte(c)
		}
	}
	if form == backends.Source {
		name.WriteString(".source")
	}
	const limit = 255
	if name.Len() <= limit {
		return name.String()
	}
	sum := sha256.Sum256([]byte(name.String()))
	tail := "~" + hex.EncodeToString(sum[:8])
	return name.String()[:limit-len(tail)] + tail
}
