package glanceapi

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// version is one of the API's, as Glance lists them.
type version struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Links  []link `json:"links"`
}

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// cacheVersion tells clients of the cache API.
const cacheVersion = "v2.14"

// versions lists what Glance lists, and the version of the cache API, which is here also where Glance has none. Links
// lead here.
func (s *Server) versions(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if r.URL.Path == "/" {
		status = http.StatusMultipleChoices
	}
	listed := withCacheVersion(s.listed(r))
	for i := range listed {
		listed[i].Links = []link{{Rel: "self", Href: base(r) + "/v2/"}}
	}
	writeJSON(w, status, map[string][]version{"versions": listed})
}

// withCacheVersion adds the cache API's version where it is missing, before those that are older.
func withCacheVersion(listed []version) []version {
	if slices.ContainsFunc(listed, func(v version) bool { return v.ID == cacheVersion }) {
		return listed
	}
	older := slices.IndexFunc(listed, func(v version) bool { return minor(v.ID) < minor(cacheVersion) })
	if older < 0 {
		older = len(listed)
	}
	return slices.Insert(listed, older, version{ID: cacheVersion, Status: "SUPPORTED"})
}

// minor is the number behind the dot; 0 where there is none.
func minor(id string) int {
	_, text, _ := strings.Cut(id, ".")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// listed are Glance's versions; where it does not answer, those that each Glance has.
func (s *Server) listed(r *http.Request) []version {
	const most = 1 << 20
	answer, err := s.ask(r, "versions", http.Header{})
	if err == nil {
		defer answer.Body.Close()
		var body struct {
			Versions []version `json:"versions"`
		}
		if json.NewDecoder(io.LimitReader(answer.Body, most)).Decode(&body) == nil && len(body.Versions) > 0 {
			return body.Versions
		}
	}
	return []version{{ID: "v2.9", Status: "CURRENT"}, {ID: "v2.0", Status: "SUPPORTED"}}
}

// base is this server's URL, as the client knows it.
func base(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if proto := r.Header.Get("X-Forwarded-Proto"); proto == "http" || proto == "https" {
		scheme = proto
	}
	if forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ","); forwarded != "" {
		host = strings.TrimSpace(forwarded)
	}
	return scheme + "://" + host
}
