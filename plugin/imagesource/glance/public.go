package glance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Public is an image whose data is everybody's: one that Glance's list of public and active images shows to the account, with the
// account's token, by which its data can be asked for. Glance looks for the image among the public ones alone, so that it takes
// the same way whether another image of that ID is private, deactivated, or not there. An ID in upper case finds what Glance's database
// finds by it: on MariaDB the image, on others none.
// Only the ID, as Glance has it, the size and the MD5 of the image are filled in.
//
// imagesource.ErrNotFound: it is not shown there, which is so of a hidden one too; ErrUnavailable: Glance or Keystone does not say.
func (s *Source) Public(ctx context.Context, id string) (imagesource.Image, imagesource.Token, error) {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	image, token, err := s.public(ctx, id)
	if err != nil {
		return imagesource.Image{}, "", fmt.Errorf("public image %s:%.64s: %w", s.config.Name, id, err)
	}
	return image, token, nil
}

func (s *Source) public(ctx context.Context, id string) (imagesource.Image, imagesource.Token, error) {
	if !isID(strings.ToLower(id)) {
		return imagesource.Image{}, "", fmt.Errorf("%w: not an image's ID", imagesource.ErrNotFound)
	}
	t := &tokens{account: s.config.Account}
	query := url.Values{"id": {"in:" + id}, "visibility": {"public"}, "status": {"active"}, "limit": {"1"}}
	a, err := s.get(ctx, t, "v2/images?"+query.Encode(), http.Header{})
	if err != nil {
		return imagesource.Image{}, "", err
	}
	defer a.Close()
	if a.StatusCode != http.StatusOK {
		return imagesource.Image{}, "", fmt.Errorf("%w: %w", imagesource.ErrUnavailable, statusError(a))
	}
	var found struct {
		Images []metadata `json:"images"`
	}
	if err := json.NewDecoder(io.LimitReader(a, maxMetadata)).Decode(&found); err != nil {
		return imagesource.Image{}, "", fmt.Errorf("%w: Glance's answer cannot be read: %w", imagesource.ErrUnavailable, err)
	}
	for _, m := range found.Images {
		if isID(m.ID) && strings.EqualFold(m.ID, id) && m.Visibility == "public" && m.Status == "active" && m.Size != nil {
			token, err := t.next(ctx)
			return imagesource.Image{Source: s.config.Name, ID: m.ID, SizeBytes: *m.Size, MD5: m.Checksum}, token, err
		}
	}
	return imagesource.Image{}, "", fmt.Errorf("%w: Glance shows no public and active one", imagesource.ErrNotFound)
}
