package api

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Guests are people whom another service knows, Keystone, by the tokens that it gave them.
type Guests interface {
	// Guest is who brings a token, with what he may do; Role Nobody is somebody of whom nothing was said. known is false
	// where the token is nobody's. An error: the service does not say.
	Guest(ctx context.Context, token string) (who Identity, known bool, err error)
}

// guestHeader carries a guest's token. With another proof of who asks, it is a requester's own token alone, with which
// his images are read.
const guestHeader = "X-Auth-Token"

// guestKey finds in a request's context that who asks is a guest.
type guestKey struct{}

// asksAsGuest finds out who asks, where he brings nothing else that says so. *Error: he has no role here; else the service does
// not say who he is.
func (k keyring) asksAsGuest(r *http.Request) (Identity, error) {
	given := r.Header.Get(guestHeader)
	if k.guests == nil || given == "" || bearer(r) != "" || isProbe(r) {
		return Identity{}, nil
	}
	who, known, err := k.guests.Guest(r.Context(), given)
	switch {
	case err != nil:
		return Identity{}, err
	case !known:
		return Identity{}, nil
	case who.Role < Reader:
		return Identity{}, forbiddenRole.answer(who.Name + " has none of the roles of [api.keystone], or not in a project that counts; scope the token to the system or to such a project")
	}
	return who, nil
}

// refuseGuest answers where a token did not say who asks.
func (s *Server) refuseGuest(w http.ResponseWriter, r *http.Request, err error) {
	if known := (*Error)(nil); !errors.As(err, &known) {
		if r.Context().Err() == nil { // else he has gone, and says nothing of Keystone
			s.log.WithError(err).Warn("Keystone does not say whose a token is")
		}
		err = guestsAway.answer("")
	}
	s.turnAway(w, r, err)
}

// whileWelcome is ctx for what goes on for as long as its client likes. Where a guest asked for it, it ends once a request with his token would
// be turned away; its cause is what that would be answered. end must be called.
func (s *Server) whileWelcome(ctx context.Context) (_ context.Context, end context.CancelFunc) {
	welcome, cancel := context.WithCancelCause(ctx)
	end = func() { cancel(nil) }
	r, asked := ctx.Value(askedKey{}).(*http.Request)
	keys, known := ctx.Value(keysKey{}).(keyring)
	if guest, is := ctx.Value(guestKey{}).(bool); !asked || !known || !is || !guest { // he is let in by something else
		return welcome, end
	}
	go func() {
		tick := time.NewTicker(s.cfg.GuestsEvery)
		defer tick.Stop()
		for {
			select {
			case <-welcome.Done():
				return
			case <-tick.C:
			}
			if err := keys.turnsAwayGuest(r); err != nil {
				cancel(err)
				return
			}
		}
	}()
	return welcome, end
}

// turnsAwayGuest is what a guest's request would be answered that may do nothing any more; nil: it may.
func (k keyring) turnsAwayGuest(r *http.Request) error {
	who, err := k.asksAsGuest(r)
	switch known := (*Error)(nil); {
	case errors.As(err, &known):
		return known
	case err != nil:
		return guestsAway.answer("")
	case who.Role < Reader:
		return unauthorized.answer("")
	}
	return nil
}
