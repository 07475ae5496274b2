package glance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// download is an image's data while it is read.
type download struct {
	source   *Source
	image    imagesource.Image
	tokens   *tokens
	asked    bool // for data, before
	noRanges bool // the image's store gives it from its beginning only
}

var _ imagesource.Download = (*download)(nil)

// Open implements imagesource.Source. image is what Stat returned for this requester. Where the store of
// the image has no ranges (rbd, s3, swift, http), what was read already is read once more to get behind it.
// A token that is not accepted any more gives way to the next one of the context, and to the account's,
// which is used only while the image is active. An image that is deleted or deactivated meanwhile is read
// to its end as long as nothing breaks; after that it is ErrChanged.
func (s *Source) Open(ctx context.Context, image imagesource.Image) (io.ReadCloser, error) {
	d := &download{source: s, image: image, tokens: &tokens{account: s.config.Account, accepted: true}}
	r, err := imagesource.OpenStream(ctx, d, imagesource.Retries{Most: s.config.Retries, Backoff: s.config.Backoff})
	if err != nil {
		return nil, fmt.Errorf("open image %s:%.64s: %w", s.config.Name, image.ID, err)
	}
	return r, nil
}

// MayResume implements imagesource.Download: the data of an image that was active never changes.
func (d *download) MayResume() bool { return true }

// From implements imagesource.Download.
func (d *download) From(ctx context.Context, offset int64) (*imagesource.HTTPAnswer, int64, error) {
	a, err := d.request(ctx, offset)
	if err != nil {
		return nil, 0, d.changed(err, offset)
	}
	total, err := d.accept(ctx, a, offset)
	if err != nil {
		a.Close()
		return nil, 0, d.changed(err, offset)
	}
	return a, total, nil
}

// changed turns what cannot be while an image is read into the error of an image that has changed.
func (d *download) changed(err error, offset int64) error {
	gone := errors.Is(err, imagesource.ErrNotFound) || errors.Is(err, imagesource.ErrNotActive) ||
		errors.Is(err, imagesource.ErrForbidden)
	if offset > 0 && gone {
		return fmt.Errorf("%w: %v", imagesource.ErrChanged, err)
	}
	return err
}

// request asks for the data from offset on, or for all of it where the store has no ranges.
func (d *download) request(ctx context.Context, offset int64) (*imagesource.HTTPAnswer, error) {
	for {
		header := http.Header{}
		ranged := offset > 0 && !d.noRanges
		if ranged {
			header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		}
		if err := d.stillActive(ctx); err != nil {
			return nil, err
		}
		a, err := d.source.try(ctx, d.tokens, "v2/images/"+d.image.ID+"/file", header)
		switch {
		case err != nil:
			return nil, err
		case ranged && a.StatusCode == http.StatusBadRequest:
			d.noRanges = true
		case a.StatusCode != http.StatusUnauthorized:
			return a, nil
		}
		a.Close()
	}
}

// stillActive asks again whether the image may be read, before data is asked for a second time: to an
// administrator's token Glance would give it whatever its status.
func (d *download) stillActive(ctx context.Context) error {
	if !d.asked {
		d.asked = true
		return nil
	}
	now, err := d.source.look(ctx, d.image.ID, d.tokens)
	if err != nil {
		return err
	}
	if now.Digest != d.image.Digest || now.SizeBytes != d.image.SizeBytes {
		return fmt.Errorf("%w: was %s, is %s", imagesource.ErrChanged, d.image.Revision, now.Revision)
	}
	return nil
}

// accept checks that an answer holds the data from offset on, having skipped what comes before.
func (d *download) accept(ctx context.Context, a *imagesource.HTTPAnswer, offset int64) (int64, error) {
	switch a.StatusCode {
	case http.StatusOK:
		return d.acceptWhole(ctx, a, offset)
	case http.StatusPartialContent:
		return d.acceptRest(a, offset)
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, fmt.Errorf("%w: it has no byte %d", imagesource.ErrChanged, offset)
	default:
		return 0, statusError(a)
	}
}

func (d *download) acceptWhole(ctx context.Context, a *imagesource.HTTPAnswer, offset int64) (int64, error) {
	total := d.image.SizeBytes
	if total >= 0 && a.ContentLength >= 0 && a.ContentLength != total {
		return 0, fmt.Errorf("%w: was %d bytes, is %d", imagesource.ErrChanged, total, a.ContentLength)
	}
	if total < 0 {
		total = a.ContentLength
	}
	if _, err := io.CopyN(io.Discard, a, offset); err != nil {
		return 0, a.Explain(ctx, err)
	}
	return total, nil
}

func (d *download) acceptRest(a *imagesource.HTTPAnswer, offset int64) (int64, error) {
	part, err := imagesource.ParseContentRange(a.Header.Get("Content-Range"))
	if err != nil {
		return 0, fmt.Errorf("%w: at byte %d: Glance's Content-Range: %w", imagesource.ErrTruncated, offset, err)
	}
	total := d.image.SizeBytes
	if total < 0 {
		total = part.Total
	}
	if part.First != offset || total >= 0 && part.Last != total-1 || part.Total >= 0 && part.Total != total {
		return 0, fmt.Errorf("%w: at byte %d: Glance resumes with bytes %d-%d of %d", imagesource.ErrTruncated, offset, part.First, part.Last, part.Total)
	}
	return total, nil
}
