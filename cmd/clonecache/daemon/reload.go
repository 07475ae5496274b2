package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// reload reads the configuration again and lets what can be changed while requests are served take effect: the limits
// of backends and file caches, image sources, groups, what is followed, fill_limit and log_level. Requests and fills go on, also
// those of a source that is gone. A file that is wrong changes nothing. config.Problems: it is wrong.
func (d *running) reload(p *plugin.Plugin) (api.Reloaded, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if d.Reload == nil {
		return api.Reloaded{}, fmt.Errorf("%w: this daemon was not started from a file", plugin.ErrBadRequest)
	}
	next, err := d.Reload()
	if err != nil {
		return api.Reloaded{}, fmt.Errorf("%w: nothing was changed, since the configuration is wrong: %w", api.ErrConfiguration, err)
	}
	effective, result := merged(d.effective, next)
	sources, err := d.sources.open(effective, d.Log)
	if err != nil {
		return api.Reloaded{}, fmt.Errorf("%w: nothing was changed: %w", api.ErrConfiguration, err)
	}
	l := limits(effective)
	l.Sources = sources.all
	if err := p.Controls().SetLimits(l); err != nil {
		return api.Reloaded{}, err
	}
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
	return result, nil
}

// reloaded is reload for SIGHUP, whose answer is the log's.
func (d *running) reloaded(p *plugin.Plugin) {
	result, err := d.reload(p)
	if err != nil {
		d.Log.WithError(err).Error("configuration not reloaded; all goes on as before")
		return
	}
	log := d.Log.WithField("changed", result.Changed)
	if len(result.NeedsRestart) > 0 {
		log.WithField("needs_restart", result.NeedsRestart).Warn("configuration reloaded, but for what needs a restart")
		return
	}
	log.Info("configuration reloaded")
}

// merged is a configuration that takes from next what may change, and the names of what differs.
func merged(now, next config.Config) (config.Config, api.Reloaded) {
	r := api.Reloaded{Changed: []string{}, NeedsRestart: []string{}}
	merge("", &now, &next, reloadableNow(now, next), &r)
	now.ImageSources, r = mergedSources(now, next, r)
	now.Backends, r = mergedTables(now.Backends, next.Backends, "backend", func(b config.Backend) string { return b.Name }, r)
	now.FileCaches, r = mergedTables(now.FileCaches, next.FileCaches, "file_cache", func(f config.FileCache) string { return f.Name }, r)
	return now, r
}

// ofKind stands for the keys of a table's kind.
const ofKind = "kind and what belongs to it"

// The keys that a reload changes. Groups and what is followed are exchanged as a whole.
var (
	reloadable        = []string{"fill_limit", "log_level", "group", "follow"}
	reloadableOfStore = []string{"max_size", "max_count", "max_percent", "min_age", "min_hits", "evict_in_use", "evict_for_quota",
		"max_idle", "remove_unused_after", "share", "request_timeout", "max_waiting", "max_fills", "enabled"}
	reloadableOfSource = []string{ofKind, "fresh_for", "max_bandwidth", "max_fills"}
)

// mergedSources are the image sources of next: all of them may differ. Only Glance's API in front of one keeps to what that was;
// and one that is gone stays until a restart where what is followed until then may name it.
func mergedSources(now, next config.Config, r api.Reloaded) ([]config.ImageSource, api.Reloaded) {
	named := func(all []config.ImageSource, name string) int {
		return slices.IndexFunc(all, func(s config.ImageSource) bool { return s.Name == name })
	}
	for _, s := range next.ImageSources {
		at := named(now.ImageSources, s.Name)
		if at < 0 {
			r.Changed = append(r.Changed, "image_source "+s.Name)
			continue
		}
		was := now.ImageSources[at]
		if s.Name == now.GlanceAPI.Source && !reflect.DeepEqual(was.Kinded, s.Kinded) {
			r.NeedsRestart = append(r.NeedsRestart, "glance_api: image_source "+s.Name)
		}
		merge("image_source "+s.Name+": ", &was, &s, reloadableOfSource, &r)
	}
	out := slices.Clone(next.ImageSources)
	for _, s := range now.ImageSources {
		switch {
		case named(next.ImageSources, s.Name) >= 0:
		case namesMore(now, next):
			out = append(out, s)
			r.NeedsRestart = append(r.NeedsRestart, "image_source "+s.Name)
		default:
			r.Changed = append(r.Changed, "image_source "+s.Name)
		}
	}
	return out, r
}

// reloadableNow is reloadable without the groups and what is followed, where one of them names a backend that comes with a
// restart: they come with it, and all else takes effect.
func reloadableNow(now, next config.Config) []string {
	if !namesMore(now, next) {
		return reloadable
	}
	return slices.DeleteFunc(slices.Clone(reloadable), func(key string) bool { return key == "group" || key == "follow" })
}

// namesMore tells whether a group of next, or what it follows, names a store that now has not.
func namesMore(now, next config.Config) bool {
	stores := make(map[string]bool)
	for _, b := range now.Backends {
		stores[b.Name] = true
	}
	for _, f := range now.FileCaches {
		stores[f.Name] = true
	}
	another := func(name string) bool { return !stores[name] }
	return slices.ContainsFunc(next.Groups, func(g config.Group) bool { return slices.ContainsFunc(g.Backends, another) }) ||
		slices.ContainsFunc(next.Follows, func(f config.Follow) bool { return slices.ContainsFunc(f.Backends, another) })
}

// mergedTables merges tables that have names. Those that came or went need a restart.
func mergedTables[T any](now, next []T, table string, name func(T) string, r api.Reloaded) ([]T, api.Reloaded) {
	out := slices.Clone(now)
	for i := range out {
		at := slices.IndexFunc(next, func(t T) bool { return name(t) == name(out[i]) })
		if at < 0 {
			r.NeedsRestart = append(r.NeedsRestart, table+" "+name(out[i]))
			continue
		}
		merge(table+" "+name(out[i])+": ", &out[i], &next[at], reloadableOfStore, &r)
	}
	for _, t := range next {
		if !slices.ContainsFunc(now, func(o T) bool { return name(o) == name(t) }) {
			r.NeedsRestart = append(r.NeedsRestart, table+" "+name(t))
		}
	}
	return out, r
}

// merge takes over the keys that may change from next, a pointer like now to one struct of the configuration, and
// notes which differ. Lists of tables that are merged one by one are left out.
func merge(prefix string, now, next any, may []string, r *api.Reloaded) {
	a, b := reflect.ValueOf(now).Elem(), reflect.ValueOf(next).Elem()
	for i := range a.NumField() {
		key, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("toml"), ",")
		if key == "-" || slices.Contains([]string{"backend", "file_cache", "image_source"}, key) || reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		if key == "" { // its kind's own keys
			key = ofKind
		}
		if slices.Contains(may, key) {
			a.Field(i).Set(b.Field(i))
			r.Changed = append(r.Changed, prefix+key)
		} else {
			r.NeedsRestart = append(r.NeedsRestart, prefix+key)
		}
	}
}

// limits are what of a configuration the plugin takes while it serves.
func limits(cfg config.Config) plugin.Limits {
	l := plugin.Limits{
		Groups: groups(cfg), Follows: follows(cfg), FillLimit: cfg.FillLimit, FreshFor: freshFor(cfg), SourceLimits: sourceLimits(cfg),
	}
	for _, b := range cfg.Backends {
		l.Backends = append(l.Backends, backendConfig(b, nil))
	}
	for _, f := range cfg.FileCaches {
		l.FileCaches = append(l.FileCaches, fileCacheConfig(f, nil))
	}
	return l
}

// Reload implements api.Reloader.
func (s service) Reload(context.Context) (api.Reloaded, error) { return s.reload() }

var _ api.Reloader = service{}
