package glance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// mayDownload begins to ask Glance for one byte of an image's data by the requester's right, while its metadata is asked for,
// and returns what waits for the answer: who may see an image may not always download it. Where that is not required,
// or nobody brings a token, nothing is asked. The request ends with ctx, or when its answer has come.
// imagesource.ErrForbidden; ErrUnavailable; ErrNotActive.
func (s *Source) mayDownload(ctx context.Context, id string) (may func() error) {
	if !s.config.RequireDownload || imagesource.TokenOf(ctx) == "" || !isID(id) {
		return func() error { return nil }
	}
	answer := make(chan error, 1)
	go func() { answer <- s.probe(ctx, id) }()
	return func() error {
		select {
		case err := <-answer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// probe asks for the first byte of an image's data. A store that has no ranges says so after it was decided who may
// download; so does one whose image is empty.
func (s *Source) probe(ctx context.Context, id string) error {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := s.get(ctx, &tokens{account: s.config.Account}, "v2/images/"+id+"/file", http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return err
	}
	defer a.Close()
	switch {
	case a.StatusCode == http.StatusOK, a.StatusCode == http.StatusPartialContent, a.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return nil
	case a.StatusCode == http.StatusBadRequest && strings.Contains(beginning(a), "Getting images randomly from this store is not supported"):
		return nil
	}
	if err = statusError(a); errors.Is(err, imagesource.ErrForbidden) {
		return fmt.Errorf("%w: the requester may see it, and not download it", err)
	}
	return err
}
