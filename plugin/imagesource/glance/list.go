package glance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

const (
	// pageSize is how many images are asked for at once, where they have few properties and locations.
	pageSize = 200
	// mostListed bounds how many images are looked at.
	mostListed = 10_000
	// loneLonger is how many times as long a page of one image may be: what a project writes into its own image hides no other one.
	loneLonger = 8
	// calmPages is after how many pages that were read longer ones are asked for again.
	calmPages = 4
)

// errLongPage: a page has more bytes than are read of one.
var errLongPage = fmt.Errorf("%w: Glance's answer is too long to be read", imagesource.ErrUnavailable)

var _ imagesource.Lister = (*Source)(nil)

// listedImage is one in a list of Glance's.
type listedImage struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	HashValue string    `json:"os_hash_value"`
}

type page struct {
	Images []listedImage `json:"images"`
	Next   string        `json:"next"`
}

// CheckMatch implements imagesource.Lister.
func (s *Source) CheckMatch(m imagesource.Match) error {
	key, _, is := strings.Cut(m.Property, "=")
	if m.Property != "" && (!is || key == "" || slices.Contains([]string{"status", "sort", "sort_key", "sort_dir", "limit", "marker", "owner", "tag"}, key)) {
		return fmt.Errorf("%w: property %q is not KEY=VALUE of an image's own property", imagesource.ErrRefused, m.Property)
	}
	if _, err := path.Match(m.Pattern, ""); err != nil {
		return fmt.Errorf("%w: pattern %q: %w", imagesource.ErrRefused, m.Pattern, err)
	}
	return nil
}

// List implements imagesource.Lister: the active images that the account may see, by the time of their creation.
func (s *Source) List(ctx context.Context, m imagesource.Match) ([]imagesource.Listed, error) {
	all, err := s.list(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("image source %s: list images: %w", s.config.Name, err)
	}
	return all, nil
}

func (s *Source) list(ctx context.Context, m imagesource.Match) ([]imagesource.Listed, error) {
	if err := s.CheckMatch(m); err != nil {
		return nil, err
	}
	query := url.Values{"status": {"active"}, "sort": {"created_at:desc,id:desc"}}
	if m.Tag != "" {
		query.Set("tag", m.Tag)
	}
	if m.Owner != "" {
		query.Set("owner", m.Owner)
	}
	if key, value, is := strings.Cut(m.Property, "="); is {
		query.Set(key, value)
	}
	return s.listPages(ctx, query, m.Pattern)
}

// listPages asks for page after page. A page that is too long is asked for once more, with half as many images, and so are
// some after it: an administrator's have all places and properties of each image.
func (s *Source) listPages(ctx context.Context, query url.Values, pattern string) ([]imagesource.Listed, error) {
	var all []imagesource.Listed
	for seen, size, calm := 0, pageSize, 0; seen < mostListed; {
		query.Set("limit", fmt.Sprint(size))
		most := s.longPage
		if size == 1 {
			most *= loneLonger
		}
		p, err := s.page(ctx, "v2/images?"+query.Encode(), most)
		if errors.Is(err, errLongPage) && size > 1 {
			size, calm = size/2, 0
			continue
		}
		if err != nil {
			return nil, err
		}
		all, seen = append(all, p.matching(pattern)...), seen+len(p.Images)
		if p.Next == "" || len(p.Images) == 0 {
			return all, nil
		}
		query.Set("marker", p.Images[len(p.Images)-1].ID)
		if calm++; calm == calmPages {
			size, calm = min(2*size, pageSize), 0
		}
	}
	return nil, fmt.Errorf("%w: more than %d images; narrow the rule by tag, property or owner", imagesource.ErrRefused, mostListed)
}

func (p page) matching(pattern string) []imagesource.Listed {
	var all []imagesource.Listed
	for _, i := range p.Images {
		if pattern != "" {
			if is, err := path.Match(pattern, i.Name); err != nil || !is {
				continue
			}
		}
		all = append(all, imagesource.Listed{ID: i.ID, Name: i.Name, At: i.CreatedAt, Stamp: i.HashValue + " " + i.UpdatedAt.Format(time.RFC3339)})
	}
	return all
}

// page asks for one page, of so many bytes at most, by the account. errLongPage.
func (s *Source) page(ctx context.Context, where string, most int64) (page, error) {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := s.get(ctx, &tokens{account: s.config.Account}, where, http.Header{})
	if err != nil {
		return page{}, err
	}
	defer a.Close()
	if a.StatusCode != http.StatusOK {
		return page{}, statusError(a)
	}
	var p page
	limited := &io.LimitedReader{R: a, N: most}
	if err := json.NewDecoder(limited).Decode(&p); err != nil {
		if limited.N == 0 {
			return page{}, errLongPage
		}
		return page{}, fmt.Errorf("%w: Glance's answer cannot be read: %w", imagesource.ErrUnavailable, err)
	}
	return p, nil
}
