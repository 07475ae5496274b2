package imagesource

import (
	"errors"
	"strconv"
	"strings"
)

// contentRange is what a server says a partial answer is: bytes first to last of total.
type contentRange struct {
	first, last int64
	total       int64 // -1: the server does not say
}

// parseContentRange reads "bytes 0-99/200" or "bytes 0-99/*". Source: RFC 9110, section 14.4.
func parseContentRange(header string) (contentRange, error) {
	spec, found := strings.CutPrefix(header, "bytes ")
	if !found {
		return contentRange{}, errors.New("not a range of bytes")
	}
	span, size, found := strings.Cut(spec, "/")
	if !found {
		return contentRange{}, errors.New("no total")
	}
	from, to, found := strings.Cut(span, "-")
	if !found {
		return contentRange{}, errors.New("no range")
	}
	r := contentRange{total: -1}
	var errs [3]error
	r.first, errs[0] = parseOffset(from)
	r.last, errs[1] = parseOffset(to)
	if size != "*" {
		r.total, errs[2] = parseOffset(size)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return contentRange{}, err
	}
	if r.last < r.first || r.total >= 0 && r.last >= r.total {
		return contentRange{}, errors.New("ends before it begins, or beyond the total")
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
