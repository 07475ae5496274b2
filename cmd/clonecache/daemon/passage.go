package daemon

import (
	"maps"
	"reflect"
	"slices"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
)

// passage says which backends and file caches come and go with a reload; the others wait for a restart.
type passage struct {
	comes map[string]bool
	goes  map[string]bool
	// waits tells that a group, or what is followed, names one that waits: then they wait too, and nothing goes that they
	// name until then.
	waits bool
}

// passageOf finds out what may pass between two configurations. barred tells of one that is new there that it has to wait.
func passageOf(now, next config.Config, barred func(name string, place any) bool) passage {
	p := passage{comes: make(map[string]bool), goes: make(map[string]bool)}
	was, is := storePlaces(now), storePlaces(next)
	if now.StateDir == next.StateDir && reflect.DeepEqual(now.InternalTenant.Kinded, next.InternalTenant.Kinded) {
		p.come(was, next, barred)
	}
	p.waits = namesMore(p.with(was), next)
	if p.waits {
		return p
	}
	for name, place := range was {
		moved := func(other any) bool { return reflect.DeepEqual(place, other) }
		if _, stays := is[name]; !stays && !slices.ContainsFunc(slices.Collect(maps.Values(is)), moved) {
			p.goes[name] = name != now.GlanceAPI.FileCache && !slices.Contains(now.GlanceAPI.Backends, name)
		}
	}
	for _, b := range now.Backends { // what one that stays falls back on
		if !p.goes[b.Name] {
			delete(p.goes, b.Fallback)
		}
	}
	return p
}

// come lets those of next come that were not there, and are not barred.
func (p *passage) come(was map[string]any, next config.Config, barred func(name string, place any) bool) {
	for name, place := range storePlaces(next) {
		if _, there := was[name]; !there && !barred(name, place) {
			p.comes[name] = true
		}
	}
	for _, b := range next.Backends {
		if _, there := was[b.Fallback]; b.Fallback != "" && !there && !p.comes[b.Fallback] {
			delete(p.comes, b.Name)
		}
	}
}

// barred tells whether a store has to wait for a restart. Its place is another one's, as far as this daemon has opened it: two that
// are one would remove each other's image-volumes. Or its image-volumes are to be Cinder's volumes, and it was not there at the
// start, when the internal tenant is told for which backends it makes some: it would book a line for them, and nobody a quota.
func (d *running) barred(name string, place any) bool {
	kind, is := place.(config.Kinded)
	inCinder := is && kinds.OfBackend(config.Backend{Kinded: kind}).VolumeType() != ""
	return d.stores.holdsFor(name, place) || inCinder && !reflect.DeepEqual(storePlaces(d.cfg)[name], place)
}

// with are the names of those that were there, and of those that come.
func (p *passage) with(was map[string]any) map[string]bool {
	all := maps.Clone(p.comes)
	for name := range was {
		all[name] = true
	}
	return all
}

// storePlaces are the backends and file caches of a configuration by their names, each with what says where it is.
func storePlaces(cfg config.Config) map[string]any {
	all := make(map[string]any)
	for _, b := range cfg.Backends {
		all[b.Name] = b.Kinded
	}
	for _, f := range cfg.FileCaches {
		all[f.Name] = f.Path
	}
	return all
}

// namesMore tells whether a group of a configuration, or what it follows, names a store that is not among those.
func namesMore(stores map[string]bool, cfg config.Config) bool {
	another := func(name string) bool { return !stores[name] }
	return slices.ContainsFunc(cfg.Groups, func(g config.Group) bool { return slices.ContainsFunc(g.Backends, another) }) ||
		slices.ContainsFunc(cfg.Follows, func(f config.Follow) bool { return slices.ContainsFunc(f.Backends, another) })
}

// reloadable is what takes effect of the keys outside of tables that have names.
func (p *passage) reloadable() []string {
	if !p.waits {
		return reloadable
	}
	return slices.DeleteFunc(slices.Clone(reloadable), func(key string) bool { return key == "group" || key == "follow" })
}
