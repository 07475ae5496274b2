package api

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"
)

// The admin page: what people see of the cache in a browser. It is made of what the API answers, reads without JavaScript,
// and asks no other host for anything.

//go:embed page
var pageFiles embed.FS

// pageTemplates are read once; html/template writes whatever images and volumes are called as text.
var pageTemplates = template.Must(template.New("").Funcs(template.FuncMap{"size": shownSize, "ms": shownMS, "when": shownTime, "story": storyURL}).ParseFS(pageFiles, "page/*.html"))

// pagePolicy lets a page load what this server has, and nothing else.
const pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// pageBase is what each page has.
type pageBase struct {
	Title   string
	At      string // the page's word in the navigation
	Who     Identity
	Session bool // somebody has logged in, and may log out
	CSRF    string
	Said    string // what an action came to
	Problem string
}

// Operates tells whether what only an operator may do is offered.
func (b pageBase) Operates() bool { return b.Who.Role >= Operator }

func (s *Server) pageRoutes() {
	s.mux.HandleFunc("GET /ui", s.page(s.overviewPage))
	s.mux.HandleFunc("GET /ui/fills", s.page(s.fillsPage))
	s.mux.HandleFunc("GET /ui/entries", s.page(s.entriesPage))
	s.mux.HandleFunc("GET /ui/entry/{id}", s.page(s.entryPage("entry")))
	s.mux.HandleFunc("GET /ui/entry/{id}/delete", s.page(s.entryPage("delete")))
	s.mux.HandleFunc("GET /ui/volume", s.page(s.volumePage))
	s.mux.HandleFunc("GET /ui/events", s.page(s.eventsPage))
	s.mux.HandleFunc("GET /ui/login", s.loginPage)
	s.mux.HandleFunc("POST /ui/login", s.login)
	s.mux.HandleFunc("POST /ui/logout", s.logout)
	s.mux.HandleFunc("POST /ui/prefetch", s.action(s.prefetchAction))
	for verb, act := range s.entryActions() {
		s.mux.HandleFunc("POST /ui/entry/{id}/"+verb, s.action(act))
	}
	for name, kind := range map[string]string{"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"} {
		s.mux.HandleFunc("GET /ui/"+name, servePageFile(name, kind))
	}
}

// pageRoles is what the page's routes ask for.
func pageRoles() map[string]Role {
	return map[string]Role{
		"GET /ui": Reader, "GET /ui/fills": Reader, "GET /ui/entries": Reader, "GET /ui/entry/{id}": Reader, "GET /ui/events": Reader, "GET /ui/volume": Reader,
		"GET /ui/login": Nobody, "POST /ui/login": Nobody, "POST /ui/logout": Reader,
		"GET /ui/style.css": Nobody, "GET /ui/page.js": Nobody, "GET /ui/icon.svg": Nobody,
		"GET /ui/entry/{id}/delete": Operator, "POST /ui/entry/{id}/delete": Operator, "POST /ui/entry/{id}/pin": Operator,
		"POST /ui/entry/{id}/unpin": Operator, "POST /ui/entry/{id}/revalidate": Operator, "POST /ui/prefetch": Operator,
	}
}

func servePageFile(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := pageFiles.ReadFile("page/" + name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(text)
	}
}

// page serves one of the pages: view answers the template's name and what it shows.
func (s *Server) page(view func(Service, *http.Request, pageBase) (string, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		svc, err := s.current()
		if err == nil {
			var name string
			var data any
			if name, data, err = view(svc, r, s.base(r)); err == nil {
				s.render(w, r, http.StatusOK, name, data)
				return
			}
		}
		s.pageProblem(w, r, err)
	}
}

// base is what each page has, as of a request.
func (s *Server) base(r *http.Request) pageBase {
	b := pageBase{Who: identityOf(r.Context()), CSRF: s.sessions.csrf(r)}
	_, b.Session = s.sessions.of(r)
	b.Said = pageSaid[r.URL.Query().Get("said")]
	return b
}

// pageProblem tells a person what went wrong.
func (s *Server) pageProblem(w http.ResponseWriter, r *http.Request, err error) {
	e := s.fail(r.Context(), r.Method, err)
	b := s.base(r)
	b.Title, b.Problem = "That did not work", e.Message
	s.render(w, r, e.Status, "refused", b)
}

// render writes a page. One that cannot be made whole is not begun.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var page bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&page, name, data); err != nil {
		s.refuse(w, r, fmt.Errorf("make page %s: %w", name, err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}

// isPage tells requests of people in browsers from those of programs.
func isPage(r *http.Request) bool {
	return r.URL.Path == "/ui" || len(r.URL.Path) > 4 && r.URL.Path[:4] == "/ui/"
}

// refusePage answers a person who may not do what he asks: he logs in, or hears why not.
func (s *Server) refusePage(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusUnauthorized && r.Method == http.MethodGet {
		http.Redirect(w, r, "/ui/login", http.StatusSeeOther)
		return
	}
	s.pageProblem(w, r, err)
}

// shownSize is a number of bytes for people.
func shownSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	size, unit := float64(n), 0
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10) + " B"
	}
	return strconv.FormatFloat(size, 'f', 1, 64) + " " + units[unit]
}

// shownMS is a time in milliseconds for people.
func shownMS(ms float64) string {
	if ms < 1000 {
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
}

// shownTime is a time for people, in UTC; nothing for none.
func shownTime(at any) string {
	t, ok := at.(time.Time)
	if p, is := at.(*time.Time); is && p != nil {
		t, ok = *p, true
	}
	if !ok || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}
