package imagesource

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"
)

var _ Lister = (*HTTP)(nil)

// CheckMatch implements Lister: a pattern, and nothing else; only its last part may have wildcards.
func (h *HTTP) CheckMatch(m Match) error {
	if err := m.onlyPattern(); err != nil {
		return err
	}
	folder, _ := path.Split(m.Pattern)
	if strings.ContainsAny(folder, `*?[\`) {
		return fmt.Errorf("%w: pattern %q: a web server has no list of folders; only the last part may have *, ? or [", ErrRefused, m.Pattern)
	}
	if _, _, err := h.locate(folder + "list"); err != nil {
		return fmt.Errorf("pattern %q: %w", m.Pattern, err)
	}
	return nil
}

// List implements Lister, by the lists of digests in the pattern's folder: SHA256SUMS and the like, which are asked for
// anew only where they have changed. They tell no times: the names do. ErrUnavailable: there is no such list, or the
// server does not answer.
func (h *HTTP) List(ctx context.Context, m Match) ([]Listed, error) {
	all, err := h.namesOf(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("image source %s: %w", h.config.Name, err)
	}
	return newestFirst(all), nil
}

func (h *HTTP) namesOf(ctx context.Context, m Match) ([]Listed, error) {
	if err := h.CheckMatch(m); err != nil {
		return nil, err
	}
	folder, base := path.Split(m.Pattern)
	u, _, err := h.locate(folder + "list")
	if err != nil {
		return nil, err
	}
	found := h.folderList(ctx, u)
	if found == nil {
		return nil, fmt.Errorf("%w: there is no list of digests (SHA256SUMS, SHA512SUMS, CHECKSUM, …) in %s, or the server does not answer", ErrUnavailable, cmpOr(folder, "its folder"))
	}
	var all []Listed
	for name := range found.byBase {
		if matches, err := path.Match(base, name); err != nil {
			return nil, fmt.Errorf("%w: pattern %q: %w", ErrRefused, m.Pattern, err)
		} else if !matches || isList(name) {
			continue
		}
		digest, err := found.of(name, false)
		if err != nil || digest.IsZero() || checkPath(folder+name) != nil {
			continue
		}
		all = append(all, Listed{ID: folder + name, Stamp: digest.String()})
	}
	return all, nil
}

// folderList is the first list of digests of a whole folder; nil where there is none.
func (h *HTTP) folderList(ctx context.Context, u *url.URL) *sums {
	for _, name := range listsFor("") {
		if name.own || strings.HasPrefix(name.name, "-") {
			continue
		}
		if found := h.list(ctx, u, name); found != nil && len(found.byBase) > 0 {
			return found
		}
	}
	return nil
}

func cmpOr(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// onlyPattern refuses what only an image service knows.
func (m Match) onlyPattern() error {
	switch {
	case m.Pattern == "":
		return fmt.Errorf("%w: a pattern is needed", ErrRefused)
	case m.Tag != "" || m.Property != "" || m.Owner != "":
		return fmt.Errorf("%w: tag, property and owner are an image service's; give image, pattern or url", ErrRefused)
	}
	if _, err := path.Match(m.Pattern, ""); err != nil {
		return fmt.Errorf("%w: pattern %q: %w", ErrRefused, m.Pattern, err)
	}
	return nil
}
