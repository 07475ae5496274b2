package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/late"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// host is the installation that stores are opened for.
func host(cfg config.Config, log logrus.FieldLogger) (kinds.Host, error) {
	me, err := plugin.InstanceOf(string(cfg.StateDir))
	return kinds.Host{StateDir: string(cfg.StateDir), Instance: me, Log: log}, err
}

// openOrTry opens the i-th backend, or begins to try. backends.ErrInUse.
func openOrTry(ctx context.Context, cfg config.Config, i int, h kinds.Host) (backends.Backend, error) {
	c := cfg.Backends[i]
	of := kinds.OfBackend(c)
	open := func(ctx context.Context) (backends.Backend, error) { return of.Open(ctx, backends.Name(c.Name), h) }
	opened := func(b backends.Backend) { logBackend(h.Log, c, b.Info()) }
	b, err := open(ctx)
	if err == nil {
		opened(b)
		return b, nil
	}
	if errors.Is(err, backends.ErrInUse) {
		return nil, inUse("backend", c.Name, err)
	}
	failed := func(err error) { logDown(h.Log, c.Name, err, tryBackend(ctx, cfg, i)) }
	failed(err)
	expected := of.Expected()
	expected.Kind = c.Kind
	return late.NewBackend(late.Config[backends.Backend]{Info: expected, Open: open, Why: err, Opened: opened, Failed: failed}), nil
}

// openCacheOrTry opens the i-th file cache, or begins to try. backends.ErrInUse.
func openCacheOrTry(ctx context.Context, cfg config.Config, i int, h kinds.Host) (plugin.FileCache, error) {
	c := cfg.FileCaches[i]
	open := func(ctx context.Context) (late.ImageOpener, error) { return kinds.OpenFileCache(ctx, c, h) }
	opened := func(f late.ImageOpener) {
		h.Log.WithFields(logrus.Fields{"backend": c.Name, "location": f.Info().Location, "max_size": c.MaxSize}).Info("file cache is open")
	}
	f, err := open(ctx)
	if err == nil {
		opened(f)
		return f, nil
	}
	if errors.Is(err, backends.ErrInUse) {
		return nil, inUse("file cache", c.Name, err)
	}
	failed := func(err error) { logDown(h.Log, c.Name, err, tryFileCache(cfg, i)) }
	failed(err)
	return late.NewFileCache(late.Config[late.ImageOpener]{
		Info: kinds.ExpectedOfFileCache(c), Open: open, Why: err, Opened: opened, Failed: failed,
	}), nil
}

func inUse(what, name string, err error) error {
	return fmt.Errorf("%s %s: %w; stop the other one, or give this one a directory of its own", what, name, err)
}

// logDown logs why a store is not open, with what "config check" says of it.
func logDown(log logrus.FieldLogger, name string, err error, problems []config.Problem) {
	log = log.WithField("backend", name)
	for _, p := range problems {
		log = log.WithField("remedy", p.Remedy)
	}
	log.WithError(err).Error("it cannot be opened and is down; the others serve; trying again")
}

func backendConfig(c config.Backend, b backends.Backend) plugin.BackendConfig {
	var cloneTime time.Duration
	if lending, lends := kinds.OfBackend(c).(kinds.Lending); lends {
		cloneTime = lending.CloneTime()
	}
	return plugin.BackendConfig{
		Name: backends.Name(c.Name), Backend: b, Fallback: backends.Name(c.Fallback),
		ShareAll: c.Share == config.ShareAll, MaxIdle: time.Duration(c.MaxIdle), RemoveUnusedAfter: time.Duration(c.RemoveUnused), RequestTimeout: time.Duration(c.RequestTimeout),
		MaxWaiting: c.MaxWaiting, MaxFills: c.MaxFills, VolumeType: kinds.OfBackend(c).VolumeType(), KeepForQuota: !c.EvictForQuota, Disabled: !c.Enabled,
		CloneTime: cloneTime,
		Bounds: lru.Bounds{
			MaxBytes: int64(c.MaxSize), MaxCount: c.MaxCount, MaxPercent: c.MaxPercent,
			KeepInUse: !c.EvictInUse, MinAge: time.Duration(c.MinAge), MinHits: c.MinHits,
		},
	}
}

func fileCacheConfig(c config.FileCache, f plugin.FileCache) plugin.FileCacheConfig {
	return plugin.FileCacheConfig{
		Name: backends.Name(c.Name), Cache: f, MaxIdle: time.Duration(c.MaxIdle), RemoveUnusedAfter: time.Duration(c.RemoveUnused),
		Bounds: lru.Bounds{
			MaxBytes: int64(c.MaxSize), MaxCount: c.MaxCount, MaxPercent: c.MaxPercent,
			MinAge: time.Duration(c.MinAge), MinHits: c.MinHits,
		},
	}
}

// groups are those of the configuration.
func groups(cfg config.Config) []plugin.GroupConfig {
	var all []plugin.GroupConfig
	for _, g := range cfg.Groups {
		all = append(all, plugin.GroupConfig{Name: g.Name, Backends: words[backends.Name](g.Backends)})
	}
	return all
}

// follows are the images that the configuration follows.
func follows(cfg config.Config) []plugin.FollowConfig {
	var all []plugin.FollowConfig
	for _, f := range cfg.Follows {
		all = append(all, plugin.FollowConfig{
			Source: f.Source, Image: f.Image, URL: f.URL, Keep: f.Keep, Every: time.Duration(f.Every), Group: f.Group, Pin: plugin.Pinning(f.Pin),
			Match:    imagesource.Match{Pattern: f.Pattern, Tag: f.Tag, Property: f.Property, Owner: f.Owner},
			Backends: words[backends.Name](f.Backends),
		})
	}
	return all
}

// sourceLimits are max_fills and max_bandwidth of each image source.
func sourceLimits(cfg config.Config) map[string]plugin.SourceLimit {
	all := make(map[string]plugin.SourceLimit)
	for _, s := range cfg.ImageSources {
		all[s.Name] = plugin.SourceLimit{Fills: s.MaxFills, BytesPerSecond: int64(s.MaxBandwidth)}
	}
	return all
}

// freshFor is fresh_for of each image source.
func freshFor(cfg config.Config) map[string]time.Duration {
	all := make(map[string]time.Duration)
	for _, s := range cfg.ImageSources {
		all[s.Name] = time.Duration(s.FreshFor)
	}
	return all
}

func logBackend(log logrus.FieldLogger, c config.Backend, info backends.Info) {
	log = log.WithFields(logrus.Fields{"backend": c.Name, "kind": info.Kind, "location": info.Location})
	switch {
	case info.CanClone:
		log.WithField("method", info.CloneMethod).Info("backend is open: volumes are clones")
	case c.Fallback != "":
		log.WithField("why", info.NoClone).Warnf("backend is open, but cannot clone: volumes are copied from file cache %s", c.Fallback)
	default:
		log.WithField("why", info.NoClone).Warn("backend is open, but cannot clone and has no fallback: every request is bypassed")
	}
}

// openedSources are the image sources of a configuration, in its order.
type openedSources struct {
	of  []config.ImageSource
	all []imagesource.Source
}

// at is where the source of that name and place is; -1: nowhere.
func (was openedSources) at(c config.ImageSource) int {
	return slices.IndexFunc(was.of, func(o config.ImageSource) bool { return o.Name == c.Name && reflect.DeepEqual(o.Kinded, c.Kinded) })
}

func (was openedSources) has(c config.ImageSource) bool { return was.at(c) >= 0 }

// open makes the image sources of a configuration. It asks none of them anything yet. One of which only what bounds its use
// has changed is the one that was open already.
func (was openedSources) open(cfg config.Config, log logrus.FieldLogger) (openedSources, error) {
	sources := []imagesource.Source{}
	fetching := kinds.Fetching{Stall: time.Duration(cfg.StallTimeout), Warn: func(what string) { log.Warn(what) }}
	for _, c := range cfg.ImageSources {
		if at := was.at(c); at >= 0 {
			sources = append(sources, was.all[at])
			continue
		}
		s, err := kinds.OfSource(c).Open(c.Name, fetching)
		if err != nil {
			return was, fmt.Errorf("open image source: %w", err)
		}
		sources = append(sources, s)
	}
	return openedSources{of: cfg.ImageSources, all: sources}, nil
}
