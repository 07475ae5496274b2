package plugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/backends"
)

// backendNamed finds a backend; where there is only one, it needs no name. ErrUnknownBackend.
func (ro *roster) backendNamed(name backends.Name) (*store, error) {
	set := ro.stores.Load()
	if name == "" && len(set.backends) == 1 {
		name = set.backends[0]
	}
	if name == "" {
		return nil, fmt.Errorf("%w: there are several, %s; name one", ErrUnknownBackend, listed(set.backends))
	}
	if s, ok := set.byName[name]; ok && s.backend != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: %q; there is %s", ErrUnknownBackend, name, listed(set.backends))
}

// checkGroups refuses groups of the configuration that mean nothing. ErrBadRequest.
func (set *storeSet) checkGroups(groups []GroupConfig) error {
	for i, g := range groups {
		if g.Name == "" || len(g.Backends) == 0 {
			return fmt.Errorf("%w: a group needs a name and backends", ErrBadRequest)
		}
		if slices.ContainsFunc(groups[:i], func(o GroupConfig) bool { return o.Name == g.Name }) {
			return fmt.Errorf("%w: two groups are named %q", ErrBadRequest, g.Name)
		}
		for _, b := range g.Backends {
			if set.byName[b] == nil {
				return fmt.Errorf("%w: group %q: there is no backend or file cache %q", ErrBadRequest, g.Name, b)
			}
		}
	}
	return nil
}

// isConfigured tells whether there is a backend or file cache of that name.
func (ro *roster) isConfigured(name backends.Name) bool {
	return ro.named(name) != nil
}

// asked refuses to look for what is on a backend or file cache that is neither configured nor has left anything:
// found is what there is of it. ErrUnknownBackend.
func (ro *roster) asked(name backends.Name, found int) error {
	if ro.isConfigured(name) || name == "" || found > 0 {
		return nil
	}
	return ro.unknown(name)
}

// unknown is ErrUnknownBackend of a name that may be a backend's or a file cache's.
func (ro *roster) unknown(name backends.Name) error {
	var all []backends.Name
	for _, s := range ro.configuredStores() {
		all = append(all, s.name)
	}
	return fmt.Errorf("%w: %q; there is %s", ErrUnknownBackend, name, listed(all))
}

// listed are names as a person writes them: "local, ext4".
func listed[T ~string](names []T) string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = string(n)
	}
	return strings.Join(words, ", ")
}

// unknownLabel stands for every backend that is not configured: what callers invent is no label of a metric.
const unknownLabel backends.Name = "unknown"

// labelOf is the configured backend that a request names, for metrics.
func (ro *roster) labelOf(name backends.Name) backends.Name {
	s, err := ro.backendNamed(name)
	if err != nil {
		return unknownLabel
	}
	return s.name
}
