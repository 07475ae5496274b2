package imagesource

import (
	"errors"
	"strconv"
	"strings"
)

// ContentRange is what a server says a partial answer is: bytes First to Last of Total.
type ContentRange struct {
	First, Last int64
	Total       int64 // -1: the server does not say
}

// ParseContentRange reads "bytes 0-99/200" or "bytes 0-99/*". Source: RFC 9110, section 14.4.
func ParseContentRange(header string) (ContentRange, error) {
	spec, found := strings.CutPrefix(header, "bytes ")
	if !found {
		return ContentRange{}, errors.New("not a range of bytes")
	}
	span, size, found := strings.Cut(spec, "/")
	if !found {
		return ContentRange{}, errors.New("no total")
	}
	from, to, found := strings.Cut(span, "-")
	if !found {
		return ContentRange{}, errors.New("no range")
	}
	r := ContentRange{Total: -1}
	var errs [3]error
	r.First, errs[0] = parseOffset(from)
	r.Last, errs[1] = parseOffset(to)
	if size != "*" {
		r.Total, errs[2] = parseOffset(size)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return ContentRange{}, err
	}
	if r.Last < r.First || r.Total >= 0 && r.Last >= r.Total {
		return ContentRange{}, errors.New("ends before it begins, or beyond the total")
	}
	return r, nil
}

// parseOffset reads digits only: strconv alone would take a sign.
func parseOffset(digits string) (int64, error) {
	if digits == "" || strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, errors.New("not a number")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, errors.New("number too large")
	}
	return n, nil
}
