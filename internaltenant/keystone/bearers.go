package keystone

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// believeFor is how long a token is taken for valid without Keystone being asked again: one that was revoked is
	// refused after that.
	believeFor = 30 * time.Second
	// mostTokens bounds how many tokens are remembered.
	mostTokens = 1024
	// patience bounds one question to Keystone.
	patience = 30 * time.Second
	// mostQuestions bounds how many tokens Keystone is asked about at a time: whoever makes up tokens waits for his turn.
	mostQuestions = 16
	// mostWaiting bounds how many more tokens wait for that: a question goes on when whoever asked it has gone, so that nothing
	// else would bound them.
	mostWaiting = 256
	// longestToken is as long as the servers in front of Keystone take a header's line. Its tokens have some 200 bytes.
	longestToken = 8 << 10
)

var errManyWait = errors.New("too many tokens wait for being asked about")

// Validator tells whose a token is: Tokens does.
type Validator interface {
	Validate(ctx context.Context, token string) (Bearer, error)
}

// Bearers remembers for half a minute whose tokens are, by their digests, and while Keystone does not answer no longer. It
// may be used from several goroutines, which ask once for a token.
type Bearers struct {
	keystone  Validator
	now       func() time.Time
	asking    singleflight.Group
	questions chan struct{} // a place for each that is asked
	line      chan struct{} // a place for each that is asked or waits for that

	mu    sync.Mutex // guards known
	known map[tokenDigest]believed
}

type tokenDigest [sha256.Size]byte

type believed struct {
	bearer Bearer
	until  time.Time
}

// NewBearers remembers what v says, by that clock.
func NewBearers(v Validator, now func() time.Time) *Bearers {
	return &Bearers{keystone: v, now: now, questions: make(chan struct{}, mostQuestions), line: make(chan struct{}, mostQuestions+mostWaiting), known: make(map[tokenDigest]believed)}
}

// Of is whose a token is. ErrToken: nobody's; else Keystone does not answer, or ctx has ended.
func (c *Bearers) Of(ctx context.Context, token string) (Bearer, error) {
	if token == "" || len(token) > longestToken {
		return Bearer{}, ErrToken
	}
	key := tokenDigest(sha256.Sum256([]byte(token)))
	b, valid, known := c.find(key)
	if valid {
		return b, nil
	}
	ask := c.ask
	if known {
		ask = c.keystone.Validate // at once: whoever makes up tokens keeps nobody out who was let in a while ago
	}
	asked := c.asking.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		b, err := ask(ctx, token)
		switch {
		case err == nil:
			c.note(key, b)
		case errors.Is(err, ErrToken):
			c.forget(key)
		}
		return b, err
	})
	select {
	case r := <-asked:
		b, _ := r.Val.(Bearer)
		return b, r.Err
	case <-ctx.Done():
		return Bearer{}, ctx.Err()
	}
}

// ask asks Keystone when it is this token's turn.
func (c *Bearers) ask(ctx context.Context, token string) (Bearer, error) {
	select {
	case c.line <- struct{}{}:
		defer func() { <-c.line }()
	default:
		return Bearer{}, unavailable("ask Keystone whose a token is", errManyWait)
	}
	select {
	case c.questions <- struct{}{}:
		defer func() { <-c.questions }()
		return c.keystone.Validate(ctx, token)
	case <-ctx.Done():
		return Bearer{}, unavailable("ask Keystone whose a token is", ctx.Err())
	}
}

// find tells whether a token is remembered as valid; known: it was, and Keystone must be asked again.
func (c *Bearers) find(key tokenDigest) (b Bearer, valid, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, known := c.known[key]
	return found.bearer, known && c.now().Before(found.until), known
}

func (c *Bearers) forget(key tokenDigest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, key)
}

// note remembers a token that Keystone has just called valid. Where there are too many, those go that must be asked
// for again anyhow, else any one.
func (c *Bearers) note(key tokenDigest, b Bearer) {
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
