package api

import (
	"net/http"
	"net/url"

	"github.com/clonecache/clonecache/plugin"
)

// pageSaid are what actions came to, by the word in the URL of the page that is shown then.
var pageSaid = map[string]string{
	"pinned": "The entry is pinned.", "unpinned": "The entry is not pinned any more.", "deleted": "The entry is deleted.",
	"valid": "The entry's bytes are what they should be.", "dropped": "The entry did not pass, and was dropped.",
	"quarantined": "The entry did not pass, and stays in quarantine.", "queued": "The image is queued.",
}

// done is where to go after an action, and what to say there.
type done struct{ page, said string }

// action does what a form asks for, if a page of this server has shown it, and notes who did it.
func (s *Server) action(do func(Service, *http.Request) (done, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		svc, err := s.current()
		if err == nil && !s.sessions.bearsCSRF(r) {
			err = crossOrigin.answer("this form is not of a page that this daemon has shown to you; go back, load the page again, and repeat")
		}
		var then done
		if err == nil {
			then, err = do(svc, r)
		}
		if err != nil {
			s.pageProblem(w, r, err)
			return
		}
		svc.NoteAct(plugin.Act{Who: identityOf(r.Context()).Name, What: "page " + r.URL.Path, EntryID: r.PathValue("id")})
		http.Redirect(w, r, then.page+"?said="+then.said, http.StatusSeeOther)
	}
}

// entryActions are what can be done with an entry, by the last word of the path.
func (s *Server) entryActions() map[string]func(Service, *http.Request) (done, error) {
	pin := func(pin plugin.Pinning, said string) func(Service, *http.Request) (done, error) {
		return func(svc Service, r *http.Request) (done, error) {
			e, err := svc.SetPinned(r.Context(), r.PathValue("id"), pin)
			return done{pageOf(e.ID), said}, err
		}
	}
	return map[string]func(Service, *http.Request) (done, error){
		"pin": pin(true, "pinned"), "unpin": pin(false, "unpinned"),
		"delete": func(svc Service, r *http.Request) (done, error) {
			_, err := svc.DeleteEntry(r.Context(), r.PathValue("id"), r.PostFormValue("force") == "true")
			return done{"/ui/entries", "deleted"}, err
		},
		"revalidate": func(svc Service, r *http.Request) (done, error) {
			v, err := svc.Revalidate(r.Context(), r.PathValue("id"))
			switch {
			case err == nil && !v.Valid && v.Entry.QuarantinedAt != nil:
				return done{pageOf(v.Entry.ID), "quarantined"}, nil
			case !v.Valid:
				return done{"/ui/entries", "dropped"}, err
			}
			return done{pageOf(v.Entry.ID), "valid"}, err
		},
	}
}

func (s *Server) prefetchAction(svc Service, r *http.Request) (done, error) {
	_, err := svc.Prefetch(r.Context(), plugin.Prefetch{Images: []string{r.PostFormValue("image")}})
	return done{"/ui/fills", "queued"}, err
}

// pageOf is the page of an entry.
func pageOf(id string) string { return "/ui/entry/" + url.PathEscape(id) }
