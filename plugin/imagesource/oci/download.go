package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// blob is a blob while it is read.
type blob struct {
	source *Source
	url    *url.URL
	size   int64 // -1 unknown
}

var _ imagesource.Download = (*blob)(nil)

// Open implements imagesource.Source. image is what Stat returned: where its tag was moved meanwhile, what it was then is
// read. Of a containerdisk it is the file below /disk; its layer's digest is verified at its end.
func (s *Source) Open(ctx context.Context, image imagesource.Image) (io.ReadCloser, error) {
	r, err := s.open(ctx, image)
	if err != nil {
		return nil, fmt.Errorf("open image %s:%.64s: %w", s.config.Name, image.ID, explain(ctx, err))
	}
	return r, nil
}

func (s *Source) open(ctx context.Context, image imagesource.Image) (io.ReadCloser, error) {
	r, err := s.refOf(image.ID)
	if err != nil {
		return nil, err
	}
	text, archived := strings.CutPrefix(image.Revision, inDisk)
	digest, err := imagesource.ParseDigest(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", imagesource.ErrRefused, err)
	}
	u := &url.URL{Scheme: s.base.Scheme, Host: s.base.Host, Path: "/v2/" + r.repository.Reference.Repository + "/blobs/" + text}
	stream, err := imagesource.OpenStream(ctx, &blob{s, u, image.SizeBytes}, imagesource.Retries{Most: s.config.Retries, Backoff: s.config.Backoff})
	if err != nil || !archived {
		return stream, err
	}
	return openDisk(stream, digest)
}

// MayResume implements imagesource.Download: what a digest names never changes.
func (*blob) MayResume() bool { return true }

// loggingIn sends requests with the login that the registry asks for. It follows redirects.
type loggingIn struct{ client *auth.Client }

// RoundTrip implements http.RoundTripper.
func (l loggingIn) RoundTrip(r *http.Request) (*http.Response, error) { return l.client.Do(r) }

// From implements imagesource.Download. Where a server gives no ranges, what was read already is read once more.
func (b *blob) From(ctx context.Context, offset int64) (*imagesource.HTTPAnswer, int64, error) {
	header := http.Header{}
	if offset > 0 && b.size > offset { // some registries know no range without an end
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, b.size-1))
	} else if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	caller := imagesource.HTTPCaller{Client: &http.Client{Transport: loggingIn{b.source.client}}, Stall: b.source.config.Stall}
	a, err := caller.Do(ctx, http.MethodGet, b.url, header)
	if err != nil {
		return nil, 0, err
	}
	if err := b.accept(ctx, a, offset); err != nil {
		a.Close()
		return nil, 0, err
	}
	return a, b.size, nil
}

// accept checks that an answer holds the blob from offset on, having skipped what comes before.
func (b *blob) accept(ctx context.Context, a *imagesource.HTTPAnswer, offset int64) error {
	switch a.StatusCode {
	case http.StatusOK:
		if b.size >= 0 && a.ContentLength >= 0 && a.ContentLength != b.size {
			return fmt.Errorf("%w: it has %d bytes, its manifest says %d", imagesource.ErrDigestMismatch, a.ContentLength, b.size)
		}
		if b.size < 0 {
			b.size = a.ContentLength
		}
		if _, err := io.CopyN(io.Discard, a, offset); err != nil {
			return a.Explain(ctx, err)
		}
		return nil
	case http.StatusPartialContent:
		part, err := imagesource.ParseContentRange(a.Header.Get("Content-Range"))
		if err != nil || part.First != offset || b.size >= 0 && part.Last != b.size-1 {
			return fmt.Errorf("%w: at byte %d: the registry resumes with %.64q", imagesource.ErrTruncated, offset, a.Header.Get("Content-Range"))
		}
		return nil
	}
	return statusError(a.StatusCode)
}
