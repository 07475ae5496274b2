package kinds

import (
	"context"
	"os"
	"time"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

const maxServeStale = 30 * 24 * time.Hour // serve_stale; docs/configuration.md states it too

// staleness is the key of kinds that can serve from memory what no longer answers.
type staleness struct {
	ServeStale config.Duration `toml:"serve_stale"`
}

func (s staleness) check(t *config.Table) { t.Duration("serve_stale", s.ServeStale, 0, maxServeStale) }

// directorySource has the files of a directory as images.
type directorySource struct {
	Path config.Path `toml:"path"`
	staleness
}

// Check implements config.Settings.
func (s *directorySource) Check(t *config.Table) {
	t.Images("path", &s.Path)
	s.check(t)
}

// Open implements Source.
func (s *directorySource) Open(name string, f Fetching) (imagesource.Source, error) {
	return imagesource.NewDirectory(imagesource.DirectoryConfig{Name: name, Path: string(s.Path), ServeStale: time.Duration(s.ServeStale), Warn: f.Warn})
}

// Try implements Source.
func (s *directorySource) Try(_ context.Context, t *Part) {
	entries, err := os.ReadDir(string(s.Path))
	if err != nil {
		t.Problem("path", err, "make the directory, or let the daemon's user read it")
		return
	}
	t.Fact("image source %s: %s has %d files", t.Name, s.Path, len(entries))
}

// Remote implements Source.
func (*directorySource) Remote() bool { return false }

// CheckFollow implements config.Followed.
func (*directorySource) CheckFollow(f config.Follow) (what, remedy string) { return byPattern(f) }

// byPattern refuses rules by what only an image service knows.
func byPattern(f config.Follow) (what, remedy string) {
	if f.Tag != "" || f.Property != "" || f.Owner != "" {
		return "tag, property and owner are known to an image source of kind \"glance\" alone", "give a pattern, or one image"
	}
	return "", ""
}
