package glanceapi

import (
	"net/http"
	"strconv"
	"strings"
)

// part is what a request wants of an image's data.
type part struct {
	whole bool
	// first is where it begins, last where it ends; -1 is not given. Without first, last is how many bytes from the end.
	first, last int64
}

// partOfAll is what a request without a Range wants.
var partOfAll = part{whole: true}

// partOf reads the header Range. Not plain is what Glance refuses, or answers in ways of its own.
func partOf(h http.Header) (p part, plain bool) {
	if h.Get("Content-Range") != "" || len(h.Values("Range")) > 1 {
		return part{}, false
	}
	text := h.Get("Range")
	if text == "" {
		return partOfAll, true
	}
	text, plain = strings.CutPrefix(text, "bytes=")
	first, last, ranged := strings.Cut(text, "-")
	if !plain || !ranged || first == "" && last == "" {
		return part{}, false
	}
	p.first, plain = position(first)
	if plain {
		p.last, plain = position(last)
	}
	return p, plain
}

// position is a number; -1 for none.
func position(text string) (int64, bool) {
	if text == "" {
		return -1, true
	}
	n, err := strconv.ParseUint(text, 10, 62)
	return int64(n), err == nil
}

// within is where the part lies in an image of so many bytes; not ok where it lies outside.
func (p part) within(size int64) (first, length int64, ok bool) {
	switch {
	case p.whole:
		return 0, size, true
	case p.first < 0:
		length = min(p.last, size)
		return size - length, length, length > 0
	case p.last < 0 || p.last >= size:
		p.last = size - 1
	}
	return p.first, p.last - p.first + 1, p.first < size && p.first <= p.last
}
