package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// entriesShown is how many entries a page shows.
const entriesShown = 50

// entriesData is what the list of entries shows.
type entriesData struct {
	pageBase
	Q, Backend, State, Sort string
	Backends, States, Sorts []string
	Entries                 []plugin.EntryView
	Next                    string // the URL of the next page; "": this is the last
}

// entryOrders are the orders of the list, by their words. By age, entries come from the catalog page by page; else all are read.
var entryOrders = map[string]func(a, b plugin.EntryView) int{
	"age":    nil,
	"held":   func(a, b plugin.EntryView) int { return cmp.Compare(b.HeldBytes, a.HeldBytes) },
	"hits":   func(a, b plugin.EntryView) int { return cmp.Compare(b.Hits, a.Hits) },
	"used":   func(a, b plugin.EntryView) int { return b.LastUsedAt.Compare(a.LastUsedAt) },
	"clones": func(a, b plugin.EntryView) int { return cmp.Compare(b.Clones, a.Clones) },
}

func (s *Server) entriesPage(svc Service, r *http.Request, b pageBase) (string, any, error) {
	b.Title, b.At = "Entries", "entries"
	q := r.URL.Query()
	d := entriesData{pageBase: b, Q: q.Get("q"), Backend: q.Get("backend"), State: q.Get("state"), Sort: q.Get("sort"),
		States: []string{"filling", "ready", "evicting", "detached", "failed"}, Sorts: []string{"age", "held", "hits", "used", "clones"}}
	if _, known := entryOrders[d.Sort]; !known {
		d.Sort = "age"
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

// read finds the entries of the page that is asked for.
func (d *entriesData) read(svc Service, r *http.Request) error {
	f := plugin.EntryFilter{Backend: backends.Name(d.Backend), State: d.State}
	order := entryOrders[d.Sort]
	if order == nil && d.Q == "" {
		f.After, f.Limit = r.URL.Query().Get("after"), entriesShown+1
		all, err := svc.Entries(r.Context(), f)
		if len(all) > entriesShown {
			all = all[:entriesShown]
			d.Next = d.url("after", all[entriesShown-1].ID)
		}
		d.Entries = all
		return err
	}
	all, err := svc.Entries(r.Context(), f)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(slices.Clone(all), func(e plugin.EntryView) bool {
		return !slices.ContainsFunc(append([]string{e.ID}, e.ImageIDs...), func(name string) bool { return strings.Contains(name, d.Q) })
	})
	if order != nil {
		slices.SortStableFunc(all, order)
	}
	d.cut(all, r.URL.Query().Get("from"))
	return nil
}

// cut leaves one page of all entries.
func (d *entriesData) cut(all []plugin.EntryView, from string) {
	at, err := strconv.Atoi(from)
	if err != nil || at < 0 {
		at = 0
	}
	at = min(at, len(all))
	end := min(at+entriesShown, len(all))
	if end < len(all) {
		d.Next = d.url("from", strconv.Itoa(end))
	}
	d.Entries = all[at:end]
}

// url is that of another page of the same list.
func (d *entriesData) url(key, value string) string {
	q := url.Values{"q": {d.Q}, "backend": {d.Backend}, "state": {d.State}, "sort": {d.Sort}, key: {value}}
	return "/ui/entries?" + q.Encode()
}
