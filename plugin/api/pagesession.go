package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	sessionCookie = "clonecache_session"
	// sessionTime is how long a session lives after its last request.
	sessionTime = 8 * time.Hour
	// mostSessions bounds how many there are; the oldest goes first.
	mostSessions = 1000
)

// sessions are the people who have logged in. They live in memory: a restart logs everybody out.
type sessions struct {
	key []byte // of CSRF tokens
	now func() time.Time

	mu  sync.Mutex
	all map[string]session // by the cookie's hash
}

type session struct {
	who   Identity
	until time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{key: []byte(rand.Text() + rand.Text()), now: now, all: make(map[string]session)}
}

func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// begin is a new session's secret.
func (s *sessions) begin(who Identity) string {
	secret := rand.Text() + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.all[hashed(secret)] = session{who, s.now().Add(sessionTime)}
	return secret
}

// clear forgets what has ended, and the oldest where there are too many. The mutex is held.
func (s *sessions) clear() {
	oldest, at := "", time.Time{}
	for id, one := range s.all {
		if s.now().After(one.until) {
			delete(s.all, id)
		} else if oldest == "" || one.until.Before(at) {
			oldest, at = id, one.until
		}
	}
	if len(s.all) >= mostSessions {
		delete(s.all, oldest)
	}
}

// of is whose session a request belongs to, which then lives on.
func (s *sessions) of(r *http.Request) (Identity, bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return Identity{}, false
	}
	id := hashed(c.Value)
	s.mu.Lock()
	defer s.mu.Unlock()
	one, is := s.all[id]
	if !is || s.now().After(one.until) {
		return Identity{}, false
	}
	one.until = s.now().Add(sessionTime)
	s.all[id] = one
	return one.who, true
}

// end ends a request's session.
func (s *sessions) end(r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, hashed(c.Value))
	}
}

// csrf is what the forms of a page bring back: only who was shown the page knows it. It is of the session, or else of whoever
// the listener, or his certificate, says that he is.
func (s *sessions) csrf(r *http.Request) string {
	of := "who " + identityOf(r.Context()).Name
	if c, err := r.Cookie(sessionCookie); err == nil {
		of = "session " + c.Value
	}
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(of))
	return hex.EncodeToString(mac.Sum(nil))
}

// bearsCSRF tells whether a form comes from a page that this server has shown to the same person.
func (s *sessions) bearsCSRF(r *http.Request) bool {
	return hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(s.csrf(r)))
}

// byCookie is who a request's cookie says that it is of. It counts on the page, and elsewhere for looking only.
func (s *sessions) byCookie(r *http.Request) Identity {
	if r.Header.Get("Authorization") != "" || !isPage(r) && r.Method != http.MethodGet {
		return Identity{}
	}
	who, _ := s.of(r)
	return who
}

// keysKey finds the keyring of the listener that a request came by.
type keysKey struct{}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	if identityOf(r.Context()).Role >= Reader {
		http.Redirect(w, r, "/ui", http.StatusSeeOther)
		return
	}
	s.render(w, r, http.StatusOK, "login", pageBase{Title: "Log in"})
}

// login begins a session of whoever's token it is.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	keys, _ := r.Context().Value(keysKey{}).(keyring)
	who, known := keys.bearer(strings.TrimSpace(r.PostFormValue("token")))
	if !known || who.Role < Reader {
		s.logFor(r.Context()).WithField("from", r.RemoteAddr).Warn("somebody tried to log in with a token that is none")
		s.render(w, r, http.StatusUnauthorized, "login", pageBase{Title: "Log in", Problem: "This is nobody's token."})
		return
	}
	s.logFor(r.Context()).WithField("who", who.String()).Info("logged in")
	s.setCookie(w, r, s.sessions.begin(who), 0)
	http.Redirect(w, r, "/ui", http.StatusSeeOther)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if !s.sessions.bearsCSRF(r) {
		s.pageProblem(w, r, crossOrigin.answer(""))
		return
	}
	s.sessions.end(r)
	s.setCookie(w, r, "", -1)
	http.Redirect(w, r, "/ui/login", http.StatusSeeOther)
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, secret string, age int) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: secret, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
}
