package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/backends/late"
	"github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// The kinds that this build can open, by the words of the configuration. A new kind is its package, a
// line here, and a line in config's table of kinds; a test compares the two.
var (
	openBackend = map[string]func(context.Context, config.Config, config.Backend, plugin.InstanceID, logrus.FieldLogger) (backends.Backend, error){
		"file": func(ctx context.Context, cfg config.Config, c config.Backend, _ plugin.InstanceID, log logrus.FieldLogger) (backends.Backend, error) {
			if err := keepRecord(cfg, c.Name, c.Path); err != nil {
				return nil, err
			}
			return file.Open(ctx, file.Config{Name: backends.Name(c.Name), Path: string(c.Path), Record: storeRecord(cfg, c.Path), Owner: volumeOwner(c), Log: log})
		},
		"rbd": func(ctx context.Context, cfg config.Config, c config.Backend, me plugin.InstanceID, log logrus.FieldLogger) (backends.Backend, error) {
			return rbd.Open(ctx, rbdConfig(cfg, c, me, log))
		},
	}
	openSource = map[string]func(config.ImageSource, func(string)) (imagesource.Source, error){
		"directory": func(c config.ImageSource, warn func(string)) (imagesource.Source, error) {
			return imagesource.NewDirectory(imagesource.DirectoryConfig{Name: c.Name, Path: string(c.Path), ServeStale: time.Duration(c.ServeStale), Warn: warn})
		},
		"http":   func(c config.ImageSource, warn func(string)) (imagesource.Source, error) { return webSource(c, warn) },
		"glance": func(c config.ImageSource, _ func(string)) (imagesource.Source, error) { return glanceSource(c) },
	}
	openTenant = map[string]func(context.Context, config.Config, internaltenant.Ledger, logrus.FieldLogger) (internaltenant.Owner, error){
		"local": func(_ context.Context, cfg config.Config, ledger internaltenant.Ledger, _ logrus.FieldLogger) (internaltenant.Owner, error) {
			c := cfg.InternalTenant
			return internaltenant.NewLocal(internaltenant.LocalConfig{
				ProjectID: c.ProjectID, UserID: c.UserID, MaxVolumes: c.MaxVolumes, MaxGigabytes: c.MaxGigabytes,
			}, ledger)
		},
		"openstack": openstackTenant,
	}
)

// stores are the open backends and file caches, as the plugin takes them.
type stores struct {
	backends []plugin.BackendConfig
	caches   []plugin.FileCacheConfig
}

// openStores opens all backends and file caches, and logs what each can do. state_dir is locked. A store that
// cannot be opened is down, and tried again, while the others serve; but one that another process has open is
// refused: a second daemon on it would wait for the first one's end. backends.ErrInUse.
func openStores(ctx context.Context, cfg config.Config, log logrus.FieldLogger) (*stores, error) {
	me, err := plugin.InstanceOf(string(cfg.StateDir))
	if err != nil {
		return nil, err
	}
	s := &stores{}
	for i, c := range cfg.Backends {
		b, err := openOrTry(ctx, cfg, i, me, log)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.backends = append(s.backends, backendConfig(c, b))
	}
	for i, c := range cfg.FileCaches {
		f, err := openCacheOrTry(ctx, cfg, i, log)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.caches = append(s.caches, fileCacheConfig(c, f))
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openOrTry opens the i-th backend, or begins to try. backends.ErrInUse.
func openOrTry(ctx context.Context, cfg config.Config, i int, me plugin.InstanceID, log logrus.FieldLogger) (backends.Backend, error) {
	c := cfg.Backends[i]
	open := func(ctx context.Context) (backends.Backend, error) { return openBackend[c.Kind](ctx, cfg, c, me, log) }
	b, err := open(ctx)
	if err == nil {
		logBackend(log, c, b.Info())
		return b, nil
	}
	if errors.Is(err, backends.ErrInUse) {
		return nil, fmt.Errorf("backend %s: %w; stop the other one, or give this one a directory of its own", c.Name, err)
	}
	trial := func() []config.Problem { return tryBackend(cfg, i) }
	logDown(log, c.Name, err, trial())
	return late.NewBackend(late.Config[backends.Backend]{
		Info: expected(cfg, c), Open: open, Why: err,
		Opened: func(b backends.Backend) { logBackend(log, c, b.Info()) },
		Failed: func(err error) { logDown(log, c.Name, err, trial()) },
	}), nil
}

// openCacheOrTry opens the i-th file cache, or begins to try. backends.ErrInUse.
func openCacheOrTry(ctx context.Context, cfg config.Config, i int, log logrus.FieldLogger) (plugin.FileCache, error) {
	c := cfg.FileCaches[i]
	open := func(ctx context.Context) (late.ImageOpener, error) {
		return openCache(ctx, cfg, c, log)
	}
	opened := func(f late.ImageOpener) {
		log.WithFields(logrus.Fields{"backend": c.Name, "location": f.Info().Location, "max_size": c.MaxSize}).Info("file cache is open")
	}
	f, err := open(ctx)
	if err == nil {
		opened(f)
		return f, nil
	}
	if errors.Is(err, backends.ErrInUse) {
		return nil, fmt.Errorf("file cache %s: %w; stop the other one, or give this one a directory of its own", c.Name, err)
	}
	trial := func() []config.Problem { return tryFileCache(cfg, i) }
	logDown(log, c.Name, err, trial())
	return late.NewFileCache(late.Config[late.ImageOpener]{
		Info: backends.Info{Kind: "filecache", Location: string(c.Path), IndependentClones: true, NoClone: "it is not open"},
		Open: open, Why: err, Opened: opened,
		Failed: func(err error) { logDown(log, c.Name, err, trial()) },
	}), nil
}

// expected is what a backend that is not open yet will most likely say of itself: requests are then answered by
// its not being open, and not by its not being able to clone.
func expected(cfg config.Config, c config.Backend) backends.Info {
	if c.Kind == "rbd" {
		return backends.Info{Kind: c.Kind, Location: c.Pool, CanClone: true, CloneMethod: "rbd-v2"}
	}
	return backends.Info{Kind: c.Kind, Location: string(c.Path), CanClone: true, IndependentClones: true, Paths: true}
}

// logDown logs why a store is not open, with what "config check" says of it.
func logDown(log logrus.FieldLogger, name string, err error, problems []config.Problem) {
	log = log.WithField("backend", name)
	for _, p := range problems {
		log = log.WithField("remedy", p.Remedy)
	}
	log.WithError(err).Error("it cannot be opened and is down; the others serve; trying again")
}

func openCache(ctx context.Context, cfg config.Config, c config.FileCache, log logrus.FieldLogger) (*filecache.Cache, error) {
	if err := keepRecord(cfg, c.Name, c.Path); err != nil {
		return nil, err
	}
	return filecache.Open(ctx, filecache.Config{Name: backends.Name(c.Name), Path: string(c.Path), Record: storeRecord(cfg, c.Path), Log: log})
}

// storeRecord is the file that remembers which store was in a directory: one whose filesystem is not mounted is
// not taken for an empty one. It goes by the path, since names change.
func storeRecord(cfg config.Config, path config.Path) string {
	const longest = 200 // bytes; a file's name has at most 255
	name := url.PathEscape(string(path))
	if len(name) > longest {
		name = fmt.Sprintf("sha256=%x", sha256.Sum256([]byte(path)))
	}
	return filepath.Join(string(cfg.StateDir), "stores", name)
}

func volumeOwner(c config.Backend) file.Owner {
	return file.Owner{User: c.VolumeOwner, Group: c.VolumeGroup, Mode: os.FileMode(c.VolumeMode)}
}

// knownRecord is the record that there is of a store: perhaps the one of an older version.
func knownRecord(cfg config.Config, name string, path config.Path) string {
	now := storeRecord(cfg, path)
	if _, err := os.Lstat(now); errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(string(cfg.StateDir), "stores", name)
	}
	return now
}

// keepRecord brings the record of a store, which older versions kept by its name, to where it is now.
func keepRecord(cfg config.Config, name string, path config.Path) error {
	now := storeRecord(cfg, path)
	if _, err := os.Lstat(now); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Rename(filepath.Join(string(cfg.StateDir), "stores", name), now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func backendConfig(c config.Backend, b backends.Backend) plugin.BackendConfig {
	return plugin.BackendConfig{
		Name: backends.Name(c.Name), Backend: b, Fallback: backends.Name(c.Fallback),
		ShareAll: c.Share == config.ShareAll, MaxIdle: time.Duration(c.MaxIdle), RequestTimeout: time.Duration(c.RequestTimeout),
		MaxWaiting: c.MaxWaiting, VolumeType: c.VolumeType, KeepForQuota: !c.EvictForQuota,
		Bounds: lru.Bounds{
			MaxBytes: int64(c.MaxSize), MaxCount: c.MaxCount, MaxPercent: c.MaxPercent,
			KeepInUse: !c.EvictInUse, MinAge: time.Duration(c.MinAge), MinHits: c.MinHits,
		},
	}
}

// rbdConfig is a Ceph backend's. What this daemon left half made when it died is known by its instance ID;
// before there were such, by its host and its state_dir.
func rbdConfig(cfg config.Config, c config.Backend, me plugin.InstanceID, log logrus.FieldLogger) rbd.Config {
	host, _ := os.Hostname()
	return rbd.Config{
		Name: backends.Name(c.Name), Pool: c.Pool, Namespace: c.Namespace, ImageVolumePool: c.ImageVolumePool,
		Conf: string(c.Conf), User: c.User, Keyring: string(c.Keyring), Features: c.Features,
		Timeout: time.Duration(c.CallTimeout), ConnectTimeout: time.Duration(c.ConnectTimeout),
		Holder: string(me), Formerly: []string{host + ":" + string(cfg.StateDir)}, Log: log,
		Later: true, // a cluster that is down does not keep other backends from serving
	}
}

func fileCacheConfig(c config.FileCache, f plugin.FileCache) plugin.FileCacheConfig {
	return plugin.FileCacheConfig{
		Name: backends.Name(c.Name), Cache: f, MaxIdle: time.Duration(c.MaxIdle),
		Bounds: lru.Bounds{
			MaxBytes: int64(c.MaxSize), MaxCount: c.MaxCount, MaxPercent: c.MaxPercent,
			MinAge: time.Duration(c.MinAge), MinHits: c.MinHits,
		},
	}
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

// close closes what is open, whatever fails.
func (s *stores) close() error {
	var errs []error
	for _, b := range s.backends {
		errs = append(errs, b.Backend.Close())
	}
	for _, c := range s.caches {
		errs = append(errs, c.Cache.Close())
	}
	return errors.Join(errs...)
}

// webSource is a source of kind "http".
func webSource(c config.ImageSource, warn func(string)) (*imagesource.HTTP, error) {
	return imagesource.NewHTTP(imagesource.HTTPConfig{
		Name: c.Name, URL: c.URL, CAFile: string(c.CAFile), Proxy: c.Proxy, User: c.User,
		PasswordFile: string(c.PasswordFile), TokenFile: string(c.TokenFile), Redirects: c.Redirects, ServeStale: time.Duration(c.ServeStale), Warn: warn,
	})
}

// openSources makes the image sources. It asks none of them anything yet.
func openSources(cfg config.Config, log logrus.FieldLogger) ([]imagesource.Source, error) {
	var sources []imagesource.Source
	for _, c := range cfg.ImageSources {
		s, err := openSource[c.Kind](c, func(what string) { log.Warn(what) })
		if err != nil {
			return nil, fmt.Errorf("open image source: %w", err)
		}
		sources = append(sources, s)
	}
	return sources, nil
}
