package imagesource

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// listPatience is how long lists of digests are waited for in all; a server that is silent about them has
	// none.
	listPatience = 5 * time.Second
	listsAtOnce  = 4
	// unlistedFor is how much longer it is believed that no list names a file.
	unlistedFor = 10
)

// httpList is a list of digests, and what tells whether it changed.
type httpList struct {
	sums     *sums
	identity identity
}

// listed is what the lists beside a file said of it, while it had that revision.
type listed struct {
	revision string
	digest   Digest
	list     string // that said it; "": none names the file
	until    time.Time
}

// digest is what the lists beside a file say of it; from memory while it may be believed: not where the file
// has another revision now, since the lists will have changed with it. Who asks anew has the list that named it asked
// once more; that there is none is believed. ErrBadList.
func (h *HTTP) digest(ctx context.Context, u *url.URL, revision string) (listed, error) {
	file := *u
	file.RawQuery = ""
	known, seen := h.digests.get(file.String())
	seen = seen && known.revision == revision
	if seen && time.Now().Before(known.until) && (known.list == "" || !isAnew(ctx)) {
		return known, nil
	}
	if !seen {
		known = listed{revision: revision}
	}
	select {
	case r := <-h.refreshes.DoChan(file.String()+" "+revision, func() (any, error) { return h.refresh(context.WithoutCancel(ctx), &file, known) }):
		found, _ := r.Val.(listed)
		return found, r.Err
	case <-ctx.Done():
		return listed{}, ctx.Err()
	}
}

// refresh asks for lists for all who want them now, within a limit since it does not end with any of them.
// The list that named the file is asked alone, as long as it does.
func (h *HTTP) refresh(ctx context.Context, file *url.URL, known listed) (listed, error) {
	ctx, cancel := context.WithTimeout(ctx, min(listPatience, h.config.Stall/2))
	defer cancel()
	all := listsFor(path.Base(file.Path))
	found := listed{revision: known.revision}
	for _, name := range all {
		if name.name != known.list {
			continue
		}
		digest, err := h.list(ctx, file, name).of(file.Path, name.own)
		if err == nil && digest == known.digest {
			found.digest, found.list = digest, name.name
		}
	}
	if found.list == "" {
		var err error
		if found, err = h.ask(ctx, file, all, known.revision); err != nil {
			return listed{}, err
		}
	}
	lasts := h.config.SumsFor
	if found.list == "" {
		lasts *= unlistedFor
	}
	found.until = time.Now().Add(lasts)
	h.digests.put(file.String(), found)
	return found, nil
}

// ask asks for all lists and takes the first that names the file. ErrBadList.
func (h *HTTP) ask(ctx context.Context, file *url.URL, all []listName, revision string) (listed, error) {
	lists := make([]*sums, len(all))
	var group errgroup.Group
	group.SetLimit(listsAtOnce)
	for i, name := range all {
		group.Go(func() error {
			lists[i] = h.list(ctx, file, name)
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	for i, name := range all {
		digest, err := lists[i].of(file.Path, name.own)
		if err != nil {
			return listed{}, fmt.Errorf("%s beside it: %w", name.name, err)
		}
		if !digest.IsZero() {
			return listed{revision: revision, digest: digest, list: name.name}, nil
		}
	}
	return listed{revision: revision}, nil
}

// list returns a list beside a file; nil where the server has none: whatever it answers but 200 with text that
// is no page, since servers say in many ways that they do not have a file. Where it does not answer, or has a
// fault, the list that is known is good.
func (h *HTTP) list(ctx context.Context, file *url.URL, name listName) *sums {
	u := *file
	u.Path = path.Join(path.Dir(file.Path), name.name)
	known, _ := h.lists.get(u.String())
	tries := 0
	found, err := httpList{}, error(nil)
	for ok := false; !ok; tries++ {
		found, ok, err = h.fetchList(ctx, &u, known)
		if ok || tries > 0 {
			break
		}
		if waitErr := wait(ctx, h.config.Backoff); waitErr != nil {
			break
		}
	}
	if err != nil {
		return known.sums
	}
	if found.sums != known.sums && found.sums != nil {
		if what := found.sums.complaint(); what != "" && h.warned.once(u.String()+what, struct{}{}) {
			h.config.Warn(fmt.Sprintf("image source %s: the list %s%s", h.config.Name, u.Path, what))
		}
	}
	if found.sums != nil || known.sums != nil {
		h.lists.put(u.String(), found)
	}
	return found.sums
}

// fetchList asks for a list, or only whether the known one is still right; final is false where asking again
// may bring another answer. A list that is not there is none, not an error.
func (h *HTTP) fetchList(ctx context.Context, u *url.URL, known httpList) (found httpList, final bool, err error) {
	header := http.Header{}
	if known.sums != nil && known.identity.etag != "" {
		header.Set("If-None-Match", known.identity.etag)
	} else if known.sums != nil && known.identity.modified != "" {
		header.Set("If-Modified-Since", known.identity.modified)
	}
	r, err := h.do(ctx, http.MethodGet, u, header)
	if err != nil {
		return known, false, err
	}
	defer r.Close()
	switch {
	case r.StatusCode == http.StatusNotModified:
		return known, true, nil
	case r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests:
		return known, false, statusError(r.StatusCode)
	case r.StatusCode != http.StatusOK, isPage(r.Response):
		return httpList{}, true, nil
	}
	s, err := parseSums(r)
	if err != nil {
		return known, false, err
	}
	return httpList{s, validatorsOf(r.Response)}, true, nil
}
