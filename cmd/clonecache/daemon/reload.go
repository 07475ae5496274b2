package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// reload reads the configuration again and lets what can be changed while requests are served take effect: backends and file
// caches that come and go, their limits, image sources, groups, what is followed, fill_limit,
// max_fills_per_project, clean_every and log_level. Requests and fills go on,
// also those of a source or a backend that is gone. A file that is wrong changes nothing. config.Problems: it is wrong. What is
// being opened ends with ctx.
func (d *running) reload(ctx context.Context, p *plugin.Plugin) (api.Reloaded, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if d.Reload == nil {
		return api.Reloaded{}, fmt.Errorf("%w: this daemon was not started from a file", plugin.ErrBadRequest)
	}
	next, err := d.Reload()
	if err != nil {
		return api.Reloaded{}, fmt.Errorf("%w: nothing was changed, since the configuration is wrong: %w", api.ErrConfiguration, err)
	}
	effective, result := merged(d.effective, next, d.barred)
	if result.NotOpen, err = d.change(ctx, p, effective); err != nil {
		return api.Reloaded{}, err
	}
	for _, w := range next.Warnings {
		d.Log.Warn(w.Error())
	}
	return result, nil
}

// change lets a configuration take effect, all of it or nothing, and tells what of it does not answer.
// plugin.ErrStopping: ctx has ended.
func (d *running) change(ctx context.Context, p *plugin.Plugin, effective config.Config) ([]api.NotOpen, error) {
	if wrong := d.withoutSecrets(effective); len(wrong) > 0 {
		return nil, fmt.Errorf("%w: nothing was changed: %w", api.ErrConfiguration, wrong)
	}
	sources, err := d.sources.open(effective, d.Log)
	if err != nil {
		return nil, fmt.Errorf("%w: nothing was changed: %w", api.ErrConfiguration, err)
	}
	come, err := d.stores.openMore(ctx, d.effective, effective, d.Log)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("nothing was changed: %w", plugin.ErrStopping)
	}
	if err != nil {
		return nil, unchanged(err)
	}
	l := come.limits(effective)
	l.Sources, l.Gone = sources.all, gone(d.effective, effective)
	if err := p.Controls().SetLimits(l); err != nil {
		return nil, unchanged(errors.Join(err, d.stores.closeSome(come.opened)))
	}
	d.stores.letGo(l.Gone, d.Log)
	d.expect(come)
	if level, err := logrus.ParseLevel(effective.LogLevel); err == nil && d.SetLevel != nil {
		d.SetLevel(level)
	}
	others := !slices.Equal(sources.all, d.sources.all)
	d.effective, d.sources = effective, sources
	if others {
		if err := d.ears.turn(effective, d.Log, p.Queue().LookSoon); err != nil {
			d.Log.WithError(err).Error("what image services say of new images is not heard; they are looked at as often as without it")
		}
	}
	return notOpen(p.Unavailable()), nil
}

// withoutSecrets are the files with secrets that a configuration's new image sources and backends name and that hold none, as a trial
// of it finds them. What is there already has its own, or is tried again.
func (d *running) withoutSecrets(next config.Config) config.Problems {
	t := newTrial(next)
	for i, s := range next.ImageSources {
		if !d.sources.has(s) {
			t.Part(fmt.Sprintf("image_source[%d]", i), s.Name).Secrets(s.Of)
		}
	}
	was := storePlaces(d.effective)
	for i, b := range next.Backends {
		if _, there := was[b.Name]; !there {
			t.Part(fmt.Sprintf("backend[%d]", i), b.Name).Secrets(b.Of)
		}
	}
	return t.Problems
}

// unchanged is why nothing was changed: the configuration is wrong, or it could not be found out whether it is.
func unchanged(err error) error {
	for _, wrong := range []error{plugin.ErrBadRequest, backends.ErrHeld, backends.ErrInUse} {
		if errors.Is(err, wrong) {
			return fmt.Errorf("%w: nothing was changed: %w", api.ErrConfiguration, err)
		}
	}
	return fmt.Errorf("nothing was changed: %w", err)
}

// expect lets the metrics of those that came be there from the start.
func (d *running) expect(come *arrivals) {
	for _, s := range come.opened {
		if s.cache != nil {
			d.metrics.Expect(backends.Name(s.name), api.FileCached)
		} else {
			d.metrics.Expect(backends.Name(s.name), api.Volumed)
		}
	}
}

// reloaded is reload for SIGHUP, whose answer is the log's.
func (d *running) reloaded(ctx context.Context, p *plugin.Plugin) {
	result, err := d.reload(ctx, p)
	if err != nil {
		d.Log.WithError(err).Error("configuration not reloaded; all goes on as before")
		return
	}
	log := d.Log.WithField("changed", result.Changed)
	if len(result.NotOpen) > 0 {
		log = log.WithField("not_open", result.NotOpen)
	}
	if len(result.NeedsRestart) > 0 {
		log.WithField("needs_restart", result.NeedsRestart).Warn("configuration reloaded, but for what needs a restart")
		return
	}
	log.Info("configuration reloaded")
}

// gone are the backends and file caches of now that next has not.
func gone(now, next config.Config) []backends.Name {
	var names []backends.Name
	stay := storePlaces(next)
	for name := range storePlaces(now) {
		if _, stays := stay[name]; !stays {
			names = append(names, backends.Name(name))
		}
	}
	slices.Sort(names)
	return names
}

// limits are what of a configuration the plugin takes while it serves, with those that come opened.
func (a *arrivals) limits(cfg config.Config) plugin.Limits {
	l := plugin.Limits{
		Groups: groups(cfg), Follows: follows(cfg), FillLimit: cfg.FillLimit, ProjectFillLimit: cfg.MaxFillsPerProject, CleanEvery: orNever(cfg.CleanEvery), FreshFor: freshFor(cfg), SourceLimits: sourceLimits(cfg),
	}
	for _, b := range cfg.Backends {
		l.Backends = append(l.Backends, backendConfig(b, a.backend(b.Name)))
	}
	for _, f := range cfg.FileCaches {
		l.FileCaches = append(l.FileCaches, fileCacheConfig(f, a.cache(f.Name)))
	}
	return l
}

// Reload implements api.Reloader.
func (s service) Reload(context.Context) (api.Reloaded, error) { return s.reload() } // which outlives who asked for it

var _ api.Reloader = service{}
