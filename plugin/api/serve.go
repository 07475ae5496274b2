package api

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Serve serves on all listeners until Shutdown, and returns nil then. Where one fails, all end. It
// closes the listeners.
func (s *Server) Serve(listeners []*Listener) error {
	results := make(chan error, len(listeners))
	servers, running := s.start(listeners)
	if !running {
		return closeAll(listeners)
	}
	for i, l := range listeners {
		go func() {
			results <- ended(l, servers[i].Serve(l))
		}()
	}
	var problems []error
	for range listeners {
		err := <-results
		problems = append(problems, err)
		if err != nil {
			problems = append(problems, s.closeNow())
		}
	}
	return errors.Join(problems...)
}

func ended(l *Listener, err error) error {
	if err == nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve on %s: %w", l.URL, err)
}

// start makes one http.Server a listener, for each asks other things of its clients; not after Shutdown.
func (s *Server) start(listeners []*Listener) (servers []*http.Server, running bool) {
	const (
		idle        = 2 * time.Minute
		headerBytes = 64 << 10
	)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	for _, l := range listeners {
		servers = append(servers, &http.Server{
			Handler:           s.guard(l),
			ConnContext:       withPeer,
			ReadHeaderTimeout: s.cfg.HeaderTimeout,
			IdleTimeout:       idle,
			MaxHeaderBytes:    headerBytes,
			ErrorLog:          log.New(connectionLog{s.log}, "", 0),
		})
	}
	s.servers = append(s.servers, servers...)
	return servers, true
}

// connectionLog takes what net/http says of broken connections, which their clients see too.
type connectionLog struct{ log logrus.FieldLogger }

func (c connectionLog) Write(line []byte) (int, error) {
	c.log.Debug(strings.TrimSpace(string(line)))
	return len(line), nil
}

// Shutdown stops listening, waits for the requests that are being served, within ctx, and ends the
// others: their contexts are cancelled.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Stopping()
	s.mu.Lock()
	s.closed = true
	servers := s.servers
	s.mu.Unlock()
	var problems []error
	for _, server := range servers {
		problems = append(problems, server.Shutdown(ctx))
	}
	if ctx.Err() != nil {
		problems = append(problems, s.closeNow())
	}
	return errors.Join(problems...)
}

func (s *Server) closeNow() error {
	s.mu.Lock()
	servers := s.servers
	s.closed = true
	s.mu.Unlock()
	var problems []error
	for _, server := range servers {
		problems = append(problems, server.Close())
	}
	return errors.Join(problems...)
}

// guard lets in who may come by this listener. Pages in a browser may not: they would come with the
// rights of whoever looks at them. Who is turned away holds no connection by a body that he does not send.
func (s *Server) guard(l *Listener) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bound, err := s.boundBody(w, r), foreign.Check(r)
		switch {
		case bound != nil:
			s.refuse(w, r, bound)
		case err != nil:
			s.refuse(w, r, crossOrigin.answer(""))
		case (l.loopback || l.open && (isPage(r) || isBrowser(r))) && !namesLoopback(r.Host): // a socket may be reached by a tunnel
			s.refuse(w, r, wrongHost.answer(""))
		case l.only && r.URL.Path != metricsPath && !isProbe(r):
			s.refuse(w, r, noSuchRoute.answer("metrics alone are served at this address: /metrics, /healthz, /readyz"))
		default:
			who, guest, err := s.identify(l, r)
			if err != nil {
				s.refuseGuest(w, r, err)
				return
			}
			ctx := context.WithValue(r.Context(), keysKey{}, l.keys)
			if guest {
				ctx = context.WithValue(ctx, guestKey{}, true)
			}
			s.admit(w, r.WithContext(ctx), who)
		}
	})
}

// admit serves a request of somebody. Who did not say who he is has the probes alone.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, who Identity) {
	if who.Role == Nobody && !isProbe(r) && !isPage(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		s.refuse(w, r, unauthorized.answer(""))
		return
	}
	s.ServeHTTP(w, r.WithContext(WithIdentity(r.Context(), who)))
}

// turnAway answers who may not do what he asks, in a browser with a page.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	if isPage(r) {
		s.refusePage(w, r, err)
		return
	}
	s.refuse(w, r, err)
}

// identify finds out who asks, by what he brings, or by the session that he has begun, and whether he is a guest. Errors as asksAsGuest's.
func (s *Server) identify(l *Listener, r *http.Request) (who Identity, guest bool, err error) {
	if who = l.identify(r); who.Role > Nobody {
		return who, false, nil
	}
	who, err = l.keys.asksAsGuest(r)
	switch {
	case err != nil:
		return Identity{}, false, err
	case l.only:
		who.Role = min(who.Role, monitor)
		return who, true, nil
	case who.Role > Nobody:
		return who, true, nil
	}
	return s.sessions.byCookie(r), false, nil
}

// isBrowser tells browsers, which call themselves so, or name the page that a change is asked for by. Programs come to a
// socket by any name.
func isBrowser(r *http.Request) bool {
	return r.Header.Get("Origin") != "" || strings.HasPrefix(r.UserAgent(), "Mozilla/")
}

const metricsPath = "/metrics"

// identify finds out who asks. Where metrics alone are served, nobody is more than who reads these.
func (l *Listener) identify(r *http.Request) Identity {
	who := l.keys.asks(r)
	if l.open {
		who = visitor(r.Context())
	}
	if l.only {
		who.Role = min(who.Role, monitor)
	}
	return who
}

// isTrusted tells whether a request's sender may use the API. Probes come from others too.
func isTrusted(r *http.Request) bool { return identityOf(r.Context()).Role >= Reader }

// isProbe: what tells nothing but that the daemon is up needs no token.
func isProbe(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// namesLoopback keeps out pages whose own name was made to resolve to this host.
func namesLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
