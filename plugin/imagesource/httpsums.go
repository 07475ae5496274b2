package imagesource

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"time"
)

// httpSums tells how long a list of digests may be believed, and how to ask whether it changed.
type httpSums struct {
	until    time.Time
	identity identity
}

// digest looks a file up in the lists beside it; zero where none names it.
func (h *HTTP) digest(ctx context.Context, u *url.URL) (Digest, error) {
	dir, base := path.Split(u.Path)
	for _, list := range sumsFiles {
		where := *u
		where.Path = dir + list.name
		found, err := h.list(ctx, &where, list.algorithm)
		if err != nil {
			return Digest{}, fmt.Errorf("%s beside it: %w", list.name, err)
		}
		if digest, ok := found[base]; ok {
			return digest, nil
		}
	}
	return Digest{}, nil
}

// list returns a list of digests, empty where the server has none; from memory while it may be believed.
func (h *HTTP) list(ctx context.Context, u *url.URL, a Algorithm) (sums, error) {
	known, valid := h.sums.get(u.String())
	if time.Now().Before(valid.until) {
		return known, nil
	}
	select {
	case r := <-h.refreshes.DoChan(u.String(), func() (any, error) { return h.refresh(context.WithoutCancel(ctx), u, a) }):
		if r.Err != nil {
			return nil, r.Err
		}
		found, _ := r.Val.(sums)
		return found, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refresh asks for a list for all who want it now, within a limit since it does not end with any of them.
func (h *HTTP) refresh(ctx context.Context, u *url.URL, a Algorithm) (sums, error) {
	ctx, cancel := context.WithTimeout(ctx, h.config.Stall)
	defer cancel()
	known, valid := h.sums.get(u.String())
	var found sums
	var seen identity
	err := h.retry(ctx, func() (err error) {
		found, seen, err = h.fetchList(ctx, u, a, known, valid.identity)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case err != nil:
		return nil, err
	}
	h.sums.put(u.String(), found, httpSums{until: time.Now().Add(h.config.SumsFor), identity: seen})
	return found, nil
}

// fetchList asks for a list, or only whether the known one is still right.
func (h *HTTP) fetchList(ctx context.Context, u *url.URL, a Algorithm, known sums, seen identity) (sums, identity, error) {
	header := http.Header{}
	if known != nil && seen.etag != "" {
		header.Set("If-None-Match", seen.etag)
	} else if known != nil && seen.modified != "" {
		header.Set("If-Modified-Since", seen.modified)
	}
	r, err := h.do(ctx, http.MethodGet, u, header)
	if err != nil {
		return nil, identity{}, err
	}
	defer r.Close()
	switch r.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return known, seen, nil
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden: // 403 is how S3 says that there is none
		return nil, identity{}, nil
	default:
		return nil, identity{}, statusError(r.StatusCode)
	}
	// Some servers answer a page for what they do not have.
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "text/html" {
		return nil, identity{}, nil
	}
	return h.readList(ctx, r, a)
}

func (h *HTTP) readList(ctx context.Context, r *HTTPAnswer, a Algorithm) (sums, identity, error) {
	broken := &errorKeeper{reader: r}
	found, err := parseSums(broken, a)
	switch {
	case broken.err != nil:
		return nil, identity{}, r.Explain(ctx, broken.err)
	case err != nil:
		return nil, identity{}, fmt.Errorf("%w: cannot be used: %w", ErrRefused, err)
	}
	return found, validatorsOf(r.Response), nil
}
