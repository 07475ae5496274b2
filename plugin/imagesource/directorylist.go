package imagesource

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"time"
)

const (
	// settlesIn is how long a file must have been left alone before a list names it: one that is being copied there grows.
	settlesIn = 3 * time.Second
	// aheadBy is how far ahead of our clock another host's may be. A time beyond that says nothing.
	aheadBy = time.Hour
)

var _ Lister = (*Directory)(nil)

// CheckMatch implements Lister: a pattern, and nothing else.
func (d *Directory) CheckMatch(m Match) error { return m.onlyPattern() }

// List implements Lister, by the files' times of change. Lists of digests, hidden files and files that were changed in the
// last three seconds are left out.
func (d *Directory) List(ctx context.Context, m Match) ([]Listed, error) {
	if err := m.onlyPattern(); err != nil {
		return nil, fmt.Errorf("image source %s: %w", d.config.Name, err)
	}
	root, err := d.root()
	if err != nil {
		return nil, fmt.Errorf("image source %s: %w", d.config.Name, err)
	}
	defer root.Close()
	names, err := fs.Glob(root.FS(), m.Pattern)
	if err != nil {
		return nil, fmt.Errorf("image source %s: %w: pattern %q: %w", d.config.Name, ErrRefused, m.Pattern, err)
	}
	var all []Listed
	for _, name := range names {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if isList(path.Base(name)) || checkPath(name) != nil {
			continue
		}
		info, err := root.Stat(name)
		if since := time.Since(infoTime(info)); err != nil || !info.Mode().IsRegular() || since > -aheadBy && since < settlesIn {
			continue
		}
		all = append(all, Listed{ID: name, At: info.ModTime().UTC(), Stamp: revisionOf(info)})
	}
	return newestFirst(all), nil
}

// infoTime is when a file was changed; zero without info.
func infoTime(info fs.FileInfo) time.Time {
	if info == nil {
		return time.Time{}
	}
	return info.ModTime()
}
