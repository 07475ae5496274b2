package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// privateSource lets in only those who bring a token that it knows.
type privateSource struct {
	*gatedSource

	mu    sync.Mutex
	known map[imagesource.Token]bool
	seen  []imagesource.Token // with which streams were opened and read on
}

func newPrivateSource(tokens ...imagesource.Token) *privateSource {
	s := &privateSource{gatedSource: newGatedSource(), known: make(map[imagesource.Token]bool)}
	for _, t := range tokens {
		s.known[t] = true
	}
	return s
}

func (s *privateSource) admit(ctx context.Context) (imagesource.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := imagesource.TokenOf(ctx)
	if !s.known[t] {
		return t, imagesource.ErrForbidden
	}
	return t, nil
}

func (s *privateSource) expire(t imagesource.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, t)
}

func (s *privateSource) Stat(ctx context.Context, id string) (imagesource.Image, error) {
	if _, err := s.admit(ctx); err != nil {
		return imagesource.Image{}, err
	}
	return s.gatedSource.Stat(ctx, id)
}

func (s *privateSource) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	body, err := s.gatedSource.Open(ctx, i)
	if err != nil {
		return nil, err
	}
	return &privateStream{body, s, ctx}, nil
}

// privateStream asks for the token at every read, as one that resumes would.
type privateStream struct {
	io.ReadCloser
	s   *privateSource
	ctx context.Context
}

func (p *privateStream) Read(b []byte) (int, error) {
	t, err := p.s.admit(p.ctx)
	if err != nil {
		return 0, err
	}
	p.s.mu.Lock()
	p.s.seen = append(p.s.seen, t)
	p.s.mu.Unlock()
	return p.ReadCloser.Read(b)
}

func askWith(ctx context.Context, r *rig, t imagesource.Token, volume string) (plugin.Answer, error) {
	return r.CreateVolume(ctx, plugin.Request{Image: "gated:disk", Volume: backends.VolumeName(volume), Token: t})
}

func TestEachRequestIsAuthorisedByItsToken(t *testing.T) {
	source := newPrivateSource("hers")
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()))
	source.put("disk", "1", random(mib))
	for i, want := range []plugin.Outcome{plugin.Filled, plugin.Hit} {
		if a, err := askWith(t.Context(), r, "hers", string("ab"[i])); err != nil || a.Outcome != want {
			t.Errorf("request %d: got %+v, %v, want %s", i, a, err, want)
		}
	}
	for _, token := range []imagesource.Token{"", "somebody's"} {
		if _, err := askWith(t.Context(), r, token, "c"); !errors.Is(err, imagesource.ErrForbidden) {
			t.Errorf("a hit with another token: got %v, want ErrForbidden", err)
		}
	}
}

func TestAFillGoesOnWithTheNextWaitersToken(t *testing.T) {
	source := newPrivateSource("first", "second")
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()))
	source.put("disk", "1", random(2*mib))
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := askWith(ctx, r, "first", "v1"); left <- err }()
	<-source.half
	answered := make(chan plugin.Answer, 1)
	go func() {
		a, err := askWith(t.Context(), r, "second", "v2")
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	waitFor(t, func() bool { return r.Fills()[0].Waiters == 2 })
	leave()
	<-left
	source.expire("first")
	close(source.gate)
	if a := <-answered; a.Outcome != plugin.Joined {
		t.Errorf("got %+v, want joined", a)
	}
	if got := source.seen[len(source.seen)-1]; got != "second" {
		t.Errorf("the stream ended with %q token, want the second's", string(got))
	}
	checkClean(t, r)
}

func TestAnExpiredTokenEndsItsOwnRequestAlone(t *testing.T) {
	source := newPrivateSource("first", "second")
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()))
	source.put("disk", "1", random(2*mib))
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := askWith(t.Context(), r, "first", "v1"); first <- err }()
	<-source.half
	go func() { _, err := askWith(t.Context(), r, "second", "v2"); second <- err }()
	waitFor(t, func() bool { return r.Fills()[0].Waiters == 2 })
	source.expire("first")
	close(source.gate)
	if err := <-first; !errors.Is(err, imagesource.ErrForbidden) {
		t.Errorf("whose token expired: got %v, want ErrForbidden", err)
	}
	if err := <-second; err != nil {
		t.Errorf("who brought a good one: got %v, want a volume", err)
	}
	checkClean(t, r)
}

func TestTokensAreNeitherStoredNorLogged(t *testing.T) {
	const secret = "gAAAAABsecretsecretsecret"
	source := newPrivateSource(secret)
	close(source.gate)
	var logged bytes.Buffer
	log := logrus.New()
	log.SetOutput(&logged)
	log.SetLevel(logrus.TraceLevel)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(newCapable()), func(c *plugin.Config) { c.Log = log })
	source.put("disk", "1", random(mib))
	source.put("other", "1", random(mib))
	for _, name := range []string{"v1", "v2"} {
		if _, err := askWith(t.Context(), r, secret, name); err != nil {
			t.Fatal(err)
		}
	}
	source.claimSize("other", 7) // a fill that fails is logged
	_, err := r.CreateVolume(t.Context(), plugin.Request{Image: "gated:other", Volume: "v3", Token: secret})
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v, want an error without the token", err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if logged.Len() == 0 || strings.Contains(logged.String(), secret) {
		t.Errorf("the log has the token, or nothing: %s", &logged)
	}
	err = filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s has the token", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
