package filecache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/clonecache/clonecache/backends"
)

// links is the directory by-image/.
type links struct {
	dir string
	mu  sync.Mutex // one repair at a time
}

// repair makes the directory's links be those of the committed images. It touches nothing there but
// links into image-volumes/.
func (l *links) repair(images iter.Seq2[backends.ImageVolume, error]) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	want, err := wanted(images)
	if err != nil {
		return err
	}
	found, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range found {
		name := entry.Name()
		target, ours := l.read(name)
		switch {
		case !ours:
			delete(want, name) // somebody's own file has the name
		case target == want[name]:
			delete(want, name)
		case want[name] == "":
			errs = append(errs, os.Remove(filepath.Join(l.dir, name)))
		}
	}
	for name, target := range want {
		errs = append(errs, l.replace(name, target))
	}
	return errors.Join(errs...)
}

// read tells where a link leads, and whether it is one of ours.
func (l *links) read(name string) (target string, ours bool) {
	target, err := os.Readlink(filepath.Join(l.dir, name))
	return target, err == nil && strings.HasPrefix(target, linkPrefix)
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

// wanted maps each link's name to its target. Where several images have one ID (a newer revision, an
// owner of his own), the newest has the link.
func wanted(images iter.Seq2[backends.ImageVolume, error]) (map[string]string, error) {
	newest := map[string]backends.ImageVolume{}
	for v, err := range images {
		if err != nil && v.ID == "" {
			return nil, err
		}
		if err != nil || v.State != backends.Committed {
			continue
		}
		for _, image := range v.Description.ImageIDs {
			name := linkName(image, v.Description.Form)
			old, taken := newest[name]
			if !taken || old.Description.CreatedAt.Before(v.Description.CreatedAt) {
				newest[name] = v
			}
		}
	}
	targets := map[string]string{}
	for name, v := range newest {
		targets[name] = linkPrefix + string(v.ID)
	}
	return targets, nil
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
