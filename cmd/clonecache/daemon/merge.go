package daemon

import (
	"reflect"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin/api"
)

// merged is a configuration that takes from next what may change, and the names of what differs.
// barred tells of a store that is new there that it has to wait.
func merged(now, next config.Config, barred func(name string, place any) bool) (config.Config, api.Reloaded) {
	r := api.Reloaded{Changed: []string{}, NeedsRestart: []string{}}
	p := passageOf(now, next, barred)
	merge("", &now, &next, p.reloadable(), &r)
	now.ImageSources, r = mergedSources(now, next, p, r)
	now.Backends, r = mergedTables(now.Backends, next.Backends, "backend", func(b config.Backend) string { return b.Name }, p, r)
	now.FileCaches, r = mergedTables(now.FileCaches, next.FileCaches, "file_cache", func(f config.FileCache) string { return f.Name }, p, r)
	return now, r
}

// ofKind stands for the key "kind" and those of a table's kind.
const ofKind = "*"

// The keys that a reload changes. Groups and what is followed are exchanged as a whole.
var (
	reloadable        = []string{"fill_limit", "max_fills_per_project", "clean_every", "log_level", "group", "follow"}
	reloadableOfStore = []string{"max_size", "max_count", "max_percent", "min_age", "min_hits", "evict_in_use", "evict_for_quota",
		"max_idle", "remove_unused_after", "share", "request_timeout", "max_waiting", "max_fills", "enabled"}
	reloadableOfSource = []string{ofKind, "fresh_for", "max_bandwidth", "max_fills"}
)

// mergedSources are the image sources of next: all of them may differ. Only Glance's API in front of one keeps to what that was;
// and one that is gone stays until a restart where what is followed until then may name it.
func mergedSources(now, next config.Config, p passage, r api.Reloaded) ([]config.ImageSource, api.Reloaded) {
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
		case p.waits:
			out = append(out, s)
			r.NeedsRestart = append(r.NeedsRestart, "image_source "+s.Name)
		default:
			r.Changed = append(r.Changed, "image_source "+s.Name)
		}
	}
	return out, r
}

// mergedTables merges tables that have names, and lets those come and go that may.
func mergedTables[T any](now, next []T, table string, name func(T) string, p passage, r api.Reloaded) ([]T, api.Reloaded) {
	var out []T
	note := func(changed bool, name string) {
		if changed {
			r.Changed = append(r.Changed, table+" "+name)
		} else {
			r.NeedsRestart = append(r.NeedsRestart, table+" "+name)
		}
	}
	for _, was := range now {
		at := slices.IndexFunc(next, func(t T) bool { return name(t) == name(was) })
		if at >= 0 {
			merge(table+" "+name(was)+": ", &was, &next[at], reloadableOfStore, &r)
			out = append(out, was)
			continue
		}
		note(p.goes[name(was)], name(was))
		if !p.goes[name(was)] {
			out = append(out, was)
		}
	}
	for _, t := range next {
		if slices.ContainsFunc(now, func(o T) bool { return name(o) == name(t) }) {
			continue
		}
		note(p.comes[name(t)], name(t))
		if p.comes[name(t)] {
			out = append(out, t)
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
		differ := []string{prefix + key}
		if key == "" {
			key, differ = ofKind, keysThatDiffer(prefix, a.Field(i).Interface().(config.Kinded), b.Field(i).Interface().(config.Kinded))
		}
		if slices.Contains(may, key) {
			a.Field(i).Set(b.Field(i))
			r.Changed = append(r.Changed, differ...)
		} else {
			r.NeedsRestart = append(r.NeedsRestart, differ...)
		}
	}
}

// keysThatDiffer are those of two kinds' settings, each behind the prefix.
func keysThatDiffer(prefix string, a, b config.Kinded) []string {
	var keys []string
	for _, key := range a.Differing(b) {
		keys = append(keys, prefix+key)
	}
	return keys
}
