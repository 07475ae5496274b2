package plugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/backends"
)

// backendNamed finds a backend; where there is only one, it needs no name. ErrUnknownBackend.
func (ro *roster) backendNamed(name backends.Name) (*store, error) {
	if name == "" && len(ro.backends) == 1 {
		name = ro.backends[0]
	}
	if name == "" {
		return nil, fmt.Errorf("%w: there are several, %s; name one", ErrUnknownBackend, listed(ro.backends))
	}
	if s, ok := ro.stores[name]; ok && s.backend != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: %q; there is %s", ErrUnknownBackend, name, listed(ro.backends))
}

// checkGroups refuses groups of the configuration that mean nothing. ErrBadRequest.
func (ro *roster) checkGroups(groups []GroupConfig) error {
	for i, g := range groups {
		if g.Name == "" || len(g.Backends) == 0 {
			return fmt.Errorf("%w: a group needs a name and backends", ErrBadRequest)
		}
		if slices.ContainsFunc(groups[:i], func(o GroupConfig) bool { return o.Name == g.Name }) {
			return fmt.Errorf("%w: two groups are named %q", ErrBadRequest, g.Name)
		}
		for _, b := range g.Backends {
			if !ro.isConfigured(b) {
				return fmt.Errorf("%w: group %q: there is no backend or file cache %q", ErrBadRequest, g.Name, b)
			}
		}
	}
	return nil
}

// isConfigured tells whether there is a backend or file cache of that name.
func (ro *roster) isConfigured(name backends.Name) bool {
	_, ok := ro.stores[name]
	return ok
}

// asked refuses to look for what is on a backend or file cache that is neither configured nor has left anything:
// found is what there is of it. ErrUnknownBackend.
func (ro *roster) asked(name backends.Name, found int) error {
	if _, configured := ro.stores[name]; configured || name == "" || found > 0 {
		return nil
	}
	var all []backends.Name
	for _, s := range ro.orderedStores() {
		all = append(all, s.name)
	}
	return fmt.Errorf("%w: %q; there is %s", ErrUnknownBackend, name, listed(all))
}

// listed are names as a person writes them: "local, ext4".
func listed(names []backends.Name) string {
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
