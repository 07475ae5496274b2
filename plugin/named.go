package plugin

import (
	"fmt"
	"strings"

	"github.com/clonecache/clonecache/backends"
)

// backendNamed finds a backend; where there is only one, it needs no name. ErrUnknownBackend.
func (p *Plugin) backendNamed(name backends.Name) (*store, error) {
	if name == "" && len(p.backends) == 1 {
		name = p.backends[0]
	}
	if name == "" {
		return nil, fmt.Errorf("%w: there are several, %s; name one", ErrUnknownBackend, listed(p.backends))
	}
	if s, ok := p.stores[name]; ok && s.backend != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: %q; there is %s", ErrUnknownBackend, name, listed(p.backends))
}

// isConfigured tells whether there is a backend or file cache of that name.
func (p *Plugin) isConfigured(name backends.Name) bool {
	_, ok := p.stores[name]
	return ok
}

// asked refuses to look for what is on a backend or file cache that is neither configured nor has left anything:
// found is what there is of it. ErrUnknownBackend.
func (p *Plugin) asked(name backends.Name, found int) error {
	if _, configured := p.stores[name]; configured || name == "" || found > 0 {
		return nil
	}
	var all []backends.Name
	for _, s := range p.orderedStores() {
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
func (p *Plugin) labelOf(name backends.Name) backends.Name {
	s, err := p.backendNamed(name)
	if err != nil {
		return unknownLabel
	}
	return s.name
}
