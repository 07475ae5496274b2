package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// entriesShown is how many entries a page shows.
const entriesShown = 50

// entriesData is what the list of entries shows.
type entriesData struct {
	pageBase
	Q, Backend, State string
	Backends, States  []string
	Sort              plugin.EntrySort
	Sorts             []plugin.EntrySort
	Entries           []plugin.EntryView
	Next              string // the URL of the next page; "": this is the last
}

func (s *Server) entriesPage(svc Service, r *http.Request, b pageBase) (string, any, error) {
	b.Title, b.At = "Entries", "entries"
	q := r.URL.Query()
	d := entriesData{pageBase: b, Q: q.Get("q"), Backend: q.Get("backend"), State: q.Get("state"), Sort: plugin.EntrySort(q.Get("sort")),
		States: []string{"filling", "ready", "evicting", "detached", "failed"}, Sorts: plugin.EntrySorts}
	if !slices.Contains(d.Sorts, d.Sort) {
		d.Sort = plugin.SortAge
	}
	if d.State != "" && !slices.Contains(d.States, d.State) {
		d.State = ""
	}
	views, err := svc.Backends(r.Context())
	if err != nil {
		return "", nil, err
	}
	for _, v := range views {
		d.Backends = append(d.Backends, string(v.Name))
	}
	if err := d.read(svc, r); err != nil {
		return "", nil, err
	}
	return "entries", d, nil
}

// read finds the entries of the page that is asked for, and one more to know whether there is a next one.
func (d *entriesData) read(svc Service, r *http.Request) error {
	all, err := svc.Entries(r.Context(), plugin.EntryFilter{
		Backend: backends.Name(d.Backend), State: d.State, Contains: d.Q, Sort: d.Sort, After: r.URL.Query().Get("after"), Limit: entriesShown + 1,
	})
	if len(all) > entriesShown {
		all = all[:entriesShown]
		d.Next = d.after(all[entriesShown-1])
	}
	d.Entries = all
	return err
}

// after is the URL of the page of the same list that begins behind an entry.
func (d *entriesData) after(e plugin.EntryView) string {
	q := url.Values{"q": {d.Q}, "backend": {d.Backend}, "state": {d.State}, "sort": {string(d.Sort)}, "after": {cmp.Or(e.ListPlace, e.ID)}}
	return "/ui/entries?" + q.Encode()
}
