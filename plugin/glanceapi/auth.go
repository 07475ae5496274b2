package glanceapi

import (
	"errors"
	"net/http"

	"github.com/clonecache/clonecache/internaltenant/keystone"
)

// authenticated is whose request it is; where it is nobody's, it is answered.
func (s *Server) authenticated(w http.ResponseWriter, r *http.Request) (keystone.Bearer, bool) {
	b, err := s.auth.Of(r.Context(), r.Header.Get(callerHeader))
	switch {
	case err == nil:
		return b, true
	case errors.Is(err, keystone.ErrToken):
		if url := s.config.Keystone.URL(); url != "" {
			w.Header().Set("WWW-Authenticate", `Keystone uri="`+url+`"`)
		}
		refuse(w, r, http.StatusUnauthorized, unauthorizedText)
	default:
		if r.Context().Err() == nil { // else the caller has gone, which says nothing of Keystone
			s.log.WithError(err).Warn("Keystone not asked whose a token is")
		}
		refuse(w, r, http.StatusServiceUnavailable, "The Keystone service is temporarily unavailable.")
	}
	return keystone.Bearer{}, false
}

// callerHeader carries the caller's token.
const callerHeader = "X-Auth-Token"
