package glanceapi

import (
	"errors"
	"mime"
	"slices"
	"strconv"
	"strings"
)

// accepted is the form in which a client takes errors: "html", "json", or "text" where it takes neither. Who says what cannot
// be read takes HTML.
func accepted(header []string) string {
	var html, json preference
	for entry := range strings.SplitSeq(strings.Join(header, ","), ",") {
		kind, q, err := mediaRange(entry)
		if err != nil {
			return "html"
		}
		html.hear(kind, "text/html", q)
		json.hear(kind, "application/json", q)
	}
	switch {
	case html.q == 0 && json.q == 0:
		return "text"
	case html.q >= json.q:
		return "html"
	}
	return "json"
}

var errMediaRange = errors.New("no media range")

// mediaRange reads one of the kinds that a client takes, and how much it wants it; "" for nothing, and for a kind with
// parameters of its own, which Glance has none of.
func mediaRange(entry string) (kind string, q float64, err error) {
	if strings.TrimSpace(entry) == "" {
		return "", 0, nil
	}
	kind, parameters, err := mime.ParseMediaType(entry)
	if err != nil || !strings.Contains(kind, "/") {
		return "", 0, errMediaRange
	}
	q = 1
	if text, given := parameters["q"]; given {
		q, err = strconv.ParseFloat(text, 64)
		delete(parameters, "q")
	}
	if len(parameters) > 0 {
		kind = ""
	}
	return kind, q, err
}

// preference is how much a client wants one form, and how closely it has named that.
type preference struct {
	q     float64
	close int
}

// hear takes what is said of a kind, unless more has been said of this form.
func (p *preference) hear(kind, form string, q float64) {
	class, _, _ := strings.Cut(form, "/")
	if at := slices.Index([]string{"", "*/*", class + "/*", form}, kind); at > p.close {
		p.q, p.close = q, at
	}
}
