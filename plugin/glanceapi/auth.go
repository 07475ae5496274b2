package glanceapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/clonecache/clonecache/internaltenant/keystone"
)

const (
	// believeFor is how long a token is taken for valid without Keystone being asked again: one that was revoked is
	// refused after that.
	believeFor = 30 * time.Second
	// mostTokens bounds how many tokens are remembered.
	mostTokens = 1024
	// keystonePatience bounds one question to Keystone.
	keystonePatience = 30 * time.Second
)

// tokenCache remembers for a short time whose tokens are, by their digests. It may be used from several goroutines,
// which ask Keystone once for a token.
type tokenCache struct {
	keystone Keystone
	now      func() time.Time
	asking   singleflight.Group

	mu    sync.Mutex // guards known
	known map[tokenDigest]believed
}

type tokenDigest [sha256.Size]byte

type believed struct {
	bearer keystone.Bearer
	until  time.Time
}

func newTokenCache(k Keystone, now func() time.Time) *tokenCache {
	return &tokenCache{keystone: k, now: now, known: make(map[tokenDigest]believed)}
}

// bearer is whose a token is. keystone.ErrToken: nobody's; else Keystone does not answer.
func (c *tokenCache) bearer(ctx context.Context, token string) (keystone.Bearer, error) {
	if token == "" {
		return keystone.Bearer{}, keystone.ErrToken
	}
	key := tokenDigest(sha256.Sum256([]byte(token)))
	if b, ok := c.find(key); ok {
		return b, nil
	}
	asked := c.asking.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keystonePatience)
		defer cancel()
		b, err := c.keystone.Validate(ctx, token)
		if err == nil {
			c.note(key, b)
		}
		return b, err
	})
	select {
	case r := <-asked:
		b, _ := r.Val.(keystone.Bearer)
		return b, r.Err
	case <-ctx.Done():
		return keystone.Bearer{}, ctx.Err()
	}
}

func (c *tokenCache) find(key tokenDigest) (keystone.Bearer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.known[key]
	return b.bearer, ok && c.now().Before(b.until)
}

// note remembers a token that Keystone has just called valid. Where there are too many, those go that must be asked
// for again anyhow, else any one.
func (c *tokenCache) note(key tokenDigest, b keystone.Bearer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	until := now.Add(believeFor)
	if b.ExpiresAt.Before(until) {
		until = b.ExpiresAt
	}
	if len(c.known) >= mostTokens {
		maps.DeleteFunc(c.known, func(_ tokenDigest, b believed) bool { return !now.Before(b.until) })
	}
	for other := range c.known {
		if len(c.known) < mostTokens {
			break
		}
		delete(c.known, other)
	}
	c.known[key] = believed{b, until}
}

// authenticated is whose request it is; where it is nobody's, it is answered.
func (s *Server) authenticated(w http.ResponseWriter, r *http.Request) (keystone.Bearer, bool) {
	b, err := s.auth.bearer(r.Context(), r.Header.Get(callerHeader))
	switch {
	case err == nil:
		return b, true
	case errors.Is(err, keystone.ErrToken):
		if url := s.config.Keystone.URL(); url != "" {
			w.Header().Set("WWW-Authenticate", `Keystone uri="`+url+`"`)
		}
		refuse(w, r, http.StatusUnauthorized, unauthorizedText)
	default:
		s.log.WithError(err).Warn("Keystone not asked whose a token is")
		refuse(w, r, http.StatusServiceUnavailable, "The Keystone service is temporarily unavailable.")
	}
	return keystone.Bearer{}, false
}

// callerHeader carries the caller's token.
const callerHeader = "X-Auth-Token"
