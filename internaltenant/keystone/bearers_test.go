package keystone

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecache/clonecache/internaltenant"
)

// register is a Keystone that knows some bearers, or does not answer.
type register struct {
	bearers map[string]Bearer
	down    bool
	asked   int
}

func (r *register) Validate(_ context.Context, token string) (Bearer, error) {
	r.asked++
	if r.down {
		return Bearer{}, internaltenant.ErrUnavailable
	}
	b, known := r.bearers[token]
	if !known {
		return Bearer{}, ErrToken
	}
	return b, nil
}

// A token counts for half a minute after Keystone has said whose it is, and never longer than it is valid, though Keystone
// does not answer meanwhile.
func TestTokensAreBelievedForAShortTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &register{bearers: map[string]Bearer{
			"long":  {UserName: "ada", ExpiresAt: time.Now().Add(time.Hour)},
			"short": {UserName: "otto", ExpiresAt: time.Now().Add(10 * time.Second)},
		}}
		all := NewBearers(r, time.Now)
		want := func(when, token string, want error) {
			t.Helper()
			if b, err := all.Of(t.Context(), token); !errors.Is(err, want) || (err == nil) != (b.UserName != "") {
				t.Errorf("%s, %s: got %+v, %v, want %v", when, token, b, err, want)
			}
		}
		for range 3 {
			want("at first", "long", nil)
			want("at first", "short", nil)
		}
		if r.asked != 2 {
			t.Errorf("Keystone was asked %d times, want twice", r.asked)
		}
		want("at first", "", ErrToken)
		want("at first", "made-up", ErrToken)
		r.down = true
		time.Sleep(11 * time.Second)
		want("while Keystone is down", "long", nil)
		want("after its end", "short", internaltenant.ErrUnavailable)
		time.Sleep(20 * time.Second)
		want("half a minute later", "long", internaltenant.ErrUnavailable)
		r.down = false
		delete(r.bearers, "long")
		want("once revoked", "long", ErrToken)
	})
}

// Whoever makes up tokens has Keystone asked about few at a time.
func TestFewTokensAreAskedForAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		all := NewBearers(s, time.Now)
		for i := range 100 {
			go all.Of(t.Context(), string(rune('a'+i)))
		}
		synctest.Wait()
		if s.now.Load() != mostQuestions {
			t.Errorf("%d questions at a time, want %d", s.now.Load(), mostQuestions)
		}
		time.Sleep(2 * patience)
	})
}

// Whoever makes up tokens and does not wait for an answer leaves few questions behind; what is no token is not asked about.
func TestFewTokensWaitForBeingAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		all := NewBearers(s, time.Now)
		var refused atomic.Int64
		gone, leave := context.WithCancel(t.Context())
		for i := range 10_000 {
			go func() {
				if _, err := all.Of(gone, "made-up-"+strconv.Itoa(i)); errors.Is(err, internaltenant.ErrUnavailable) {
					refused.Add(1)
				}
			}()
		}
		synctest.Wait()
		if got := 10_000 - refused.Load(); got != mostQuestions+mostWaiting {
			t.Errorf("%d tokens are asked about or wait for that, want %d", got, mostQuestions+mostWaiting)
		}
		leave()
		if _, err := all.Of(t.Context(), strings.Repeat("x", longestToken+1)); !errors.Is(err, ErrToken) {
			t.Errorf("what is too long for a token: %v, want ErrToken", err)
		}
		time.Sleep(2 * patience)
		if _, err := all.Of(t.Context(), "the next"); err == nil || strings.Contains(err.Error(), errManyWait.Error()) {
			t.Errorf("after all are over: %v, want that Keystone is asked", err)
		}
	})
}

// Whoever makes up tokens keeps nobody out who was let in a while ago, until that token is none any more.
func TestMadeUpTokensKeepNobodyOutWhoWasLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{known: map[string]Bearer{"ours": {UserName: "ada", ExpiresAt: time.Now().Add(time.Hour)}}}
		all := NewBearers(s, time.Now)
		if _, err := all.Of(t.Context(), "ours"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * believeFor)
		for i := range 1000 {
			go all.Of(t.Context(), "made-up-"+strconv.Itoa(i))
		}
		synctest.Wait()
		if b, err := all.Of(t.Context(), "ours"); err != nil || b.UserName != "ada" {
			t.Errorf("got %+v, %v", b, err)
		}
		time.Sleep(believeFor)
		s.revoke("ours")
		if _, err := all.Of(t.Context(), "ours"); !errors.Is(err, ErrToken) {
			t.Errorf("once revoked: %v, want ErrToken", err)
		}
		if _, _, known := all.find(sha256.Sum256([]byte("ours"))); known {
			t.Error("a token that was revoked still goes before others")
		}
		time.Sleep(2 * patience)
	})
}

// slow never answers, but for what it knows: of a bearer without a name it says that the token is nobody's.
type slow struct {
	now   atomic.Int64
	mu    sync.Mutex
	known map[string]Bearer
}

func (s *slow) bearer(token string) (Bearer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.known[token]
	return b, known
}

func (s *slow) revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[token] = Bearer{}
}

func (s *slow) Validate(ctx context.Context, token string) (Bearer, error) {
	if b, known := s.bearer(token); known {
		if b.UserName == "" {
			return b, ErrToken
		}
		return b, nil
	}
	s.now.Add(1)
	<-ctx.Done()
	return Bearer{}, internaltenant.ErrUnavailable
}
