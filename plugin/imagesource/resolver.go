package imagesource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Resolver finds the source of an image reference among the configured ones. It may be used from
// several goroutines.
type Resolver struct {
	sources []Source
}

// NewResolver takes the sources in the order of the configuration. Two may not have one name, and a
// name may not be mistaken for a URL or part of an ID.
func NewResolver(sources []Source) (*Resolver, error) {
	seen := map[string]bool{}
	for _, s := range sources {
		if err := checkSourceName(s.Name()); err != nil {
			return nil, fmt.Errorf("image source %q: name: %w", s.Name(), err)
		}
		if seen[s.Name()] {
			return nil, fmt.Errorf("image source %s: name is used twice", s.Name())
		}
		seen[s.Name()] = true
	}
	return &Resolver{sources: slices.Clone(sources)}, nil
}

// Resolve finds the source that ref means and the image's ID in there:
//
//	SOURCE:ID       that source; whether it has the image is not asked
//	http(s)://…     the http source on whose host it is, the one with the longest path before others
//	ID              the one source that has it; each is asked
//
// ErrRefused: a URL that is on no source's host. ErrAmbiguous: several sources have ID; the message
// names them. ErrNotFound: none has. Where none has it and some cannot be asked, or may not be read,
// that is the error. A source that cannot be asked does not keep another's image from being found.
func (r *Resolver) Resolve(ctx context.Context, ref string) (Source, string, error) {
	if isURL(ref) {
		return r.resolveURL(ref)
	}
	name, id, qualified := strings.Cut(ref, ":")
	if qualified {
		if s := r.named(name); s != nil {
			return s, id, nil
		}
	}
	s, err := r.search(ctx, ref)
	if err != nil {
		if qualified && errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("%w: %w: %.64q; there is %s", ErrNotFound, ErrNoSource, clean(name), r.names())
		}
		return nil, "", fmt.Errorf("image %s: %w", clean(ref), hidden{err, ref})
	}
	return s, ref, nil
}

// hidden is an error of sources that were asked for a bare ID. Each may repeat it, though it is another source's and
// may hold a credential.
type hidden struct {
	error
	ref string
}

func (h hidden) Error() string { return strings.ReplaceAll(h.error.Error(), h.ref, clean(h.ref)) }
func (h hidden) Unwrap() error { return h.error }

// names are those of all sources: "library, web".
func (r *Resolver) names() string {
	names := make([]string, len(r.sources))
	for i, s := range r.sources {
		names[i] = s.Name()
	}
	return strings.Join(names, ", ")
}

func (r *Resolver) named(name string) Source {
	for _, s := range r.sources {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// resolveURL maps a URL to the http source that it belongs to.
func (r *Resolver) resolveURL(ref string) (Source, string, error) {
	u, err := parseURL(ref)
	if err != nil {
		return nil, "", fmt.Errorf("image %s: %w", clean(ref), err)
	}
	var best Source
	var web *HTTP
	deepest := -1
	for _, s := range r.sources {
		h, isHTTP := Underlying(s).(*HTTP)
		if !isHTTP {
			continue
		}
		if depth, ok := h.holds(u); ok && depth > deepest {
			best, web, deepest = s, h, depth
		}
	}
	if best == nil {
		return nil, "", fmt.Errorf("image %s: %w: no image source of kind http is on this host", clean(ref), ErrRefused)
	}
	query := u.RawQuery
	if _, _, err = web.locateURL(u, ref); err != nil {
		return nil, "", fmt.Errorf("image %s: %w", clean(ref), err)
	}
	u.RawQuery = ""
	_, id, _ := web.locateURL(u, ref)
	if query != "" {
		id += "?" + query
	}
	return best, id, nil
}

// search asks all sources at once for a bare ID.
func (r *Resolver) search(ctx context.Context, id string) (Source, error) {
	errs := make([]error, len(r.sources))
	var wg sync.WaitGroup
	for i, s := range r.sources {
		wg.Go(func() { errs[i] = asked(ctx, s, id) })
	}
	wg.Wait()
	return r.pick(errs)
}

// asked asks one source; one that is down is not waited for long, since another may have the image.
func asked(ctx context.Context, s Source, id string) error {
	w, watched := s.(*Watched)
	if !watched || !w.Down() {
		_, err := s.Stat(ctx, id)
		return err
	}
	short, cancel := context.WithTimeout(ctx, downPatience)
	defer cancel()
	_, err := s.Stat(short, id)
	if err != nil && ctx.Err() == nil && short.Err() != nil {
		err = fmt.Errorf("%w: image source %s is down", ErrUnavailable, s.Name())
	}
	return err
}

// pick decides by what each source answered.
func (r *Resolver) pick(errs []error) (Source, error) {
	var found []Source
	var names []string
	var unclear, refused error
	absent := false
	for i, err := range errs {
		switch {
		case err == nil:
			found = append(found, r.sources[i])
			names = append(names, r.sources[i].Name())
		case errors.Is(err, ErrNotFound):
			absent = true
		case errors.Is(err, ErrRefused):
			refused = err
		default:
			unclear = errors.Join(unclear, err)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("%w: in %s; name it SOURCE:ID", ErrAmbiguous, strings.Join(names, ", "))
	case unclear != nil:
		return nil, unclear
	case refused != nil && !absent:
		return nil, refused
	default:
		return nil, fmt.Errorf("%w: in no image source", ErrNotFound)
	}
}
