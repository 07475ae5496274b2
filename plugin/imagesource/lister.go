package imagesource

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Match says which images a list is to name. Zero fields mean all.
type Match struct {
	// Pattern is path.Match's, on paths in a directory or on a web server, and on names at an image service.
	Pattern string
	// Tag, Property ("KEY=VALUE") and Owner (a project's ID) are for an image service.
	Tag, Property, Owner string
}

// Listed is an image in a list.
type Listed struct {
	ID   string    // as Stat is asked
	Name string    // "": the ID
	At   time.Time // since when it is there; zero where the source does not tell
	// Stamp differs once the image does; "": the source does not tell.
	Stamp string
}

// Lister is a Source that can list its images.
type Lister interface {
	// CheckMatch refuses what the source cannot list by, and asks nobody. ErrRefused.
	CheckMatch(m Match) error
	// List names the images that match, the newest first: by their time, and by their names where there is none, in which
	// a number counts as one ("disk-10" is newer than "disk-9"). It is asked by the source's own account.
	// ErrRefused, ErrUnavailable, ErrForbidden.
	List(ctx context.Context, m Match) ([]Listed, error)
}

// maxListed bounds a list.
const maxListed = 10_000

// newestFirst sorts a list.
func newestFirst(all []Listed) []Listed {
	slices.SortStableFunc(all, func(a, b Listed) int {
		return cmp.Or(b.At.Compare(a.At), compareNumbers(cmp.Or(b.Name, b.ID), cmp.Or(a.Name, a.ID)), strings.Compare(b.ID, a.ID))
	})
	return all[:min(len(all), maxListed)]
}

// compareNumbers compares names in which digits in a row are a number.
func compareNumbers(a, b string) int {
	for a != "" && b != "" {
		x, y := leading(a), leading(b)
		a, b = a[len(x):], b[len(y):]
		if unicode.IsDigit(rune(x[0])) && unicode.IsDigit(rune(y[0])) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Compare(len(x), len(y)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// leading is what a name, which is not empty, begins with: a number, or all before one.
func leading(s string) string {
	number := s[0] >= '0' && s[0] <= '9'
	end := strings.IndexFunc(s, func(r rune) bool { return (r >= '0' && r <= '9') != number })
	if end < 0 {
		return s
	}
	return s[:end]
}

// isList tells of the name of a list of digests, which is no image.
func isList(base string) bool {
	upper := strings.ToUpper(base)
	for _, end := range []string{"SUMS", "SUM", "CHECKSUM", "SHA256", "SHA512", "SUM.TXT", "SUMS.TXT", ".DIGESTS", ".ASC", ".SIG", ".GPG", ".SIGN"} {
		if strings.HasSuffix(upper, end) {
			return true
		}
	}
	return strings.HasPrefix(upper, "CHECKSUM.") || strings.HasSuffix(upper, ".MANIFEST")
}
