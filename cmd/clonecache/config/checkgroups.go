package config

import (
	"fmt"
	"maps"
	"slices"
)

// groups checks that each [[group]] names backends or file caches that there are, each once.
func (c *checker) groups(cfg *Config) {
	stores, groups := make(map[string]bool), make(map[string]string)
	for _, b := range cfg.Backends {
		stores[b.Name] = true
	}
	for _, f := range cfg.FileCaches {
		stores[f.Name] = true
	}
	for i, g := range cfg.Groups {
		at := fmt.Sprintf("group[%d]", i)
		c.name(at, g.Name, groups)
		if len(g.Backends) == 0 {
			c.problem(at+".backends", "it names no backend", "list backends, such as [\"local\"], or remove the group")
		}
		for k, name := range g.Backends {
			key := fmt.Sprintf("%s.backends[%d]", at, k)
			switch {
			case !stores[name]:
				c.problem(key, fmt.Sprintf("there is no backend or file cache named %q", name),
					"name a [[backend]] or a [[file_cache]]"+listed(slices.Sorted(maps.Keys(stores))))
			case slices.Contains(g.Backends[:k], name):
				c.problem(key, fmt.Sprintf("%q is listed twice", name), "remove one")
			}
		}
	}
}
