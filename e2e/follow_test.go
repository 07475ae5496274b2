package e2e

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// followedVersions is the variable of the environment that says how many versions come out; a machine with time has 100.
const followedVersions = "CLONECACHE_FOLLOWED_VERSIONS"

// site is a web server with one image, latest.raw, whose content changes, and the list of its digest.
type site struct {
	*httptest.Server
	moved atomic.Int64 // bytes that went over its connections, either way

	mu      sync.Mutex
	content []byte
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(s)
	s.Listener = &meteredListener{s.Listener, &s.moved}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	content := s.content
	s.mu.Unlock()
	sum := sha256.Sum256(content)
	switch r.URL.Path {
	case "/SHA256SUMS":
		content = fmt.Appendf(nil, "%x  latest.raw\n", sum)
	case "/latest.raw":
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	default:
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// publish replaces the image by a new version, which it returns.
func (s *site) publish(version int) []byte {
	content := bytes.Repeat([]byte("version "), 8<<10)
	binary.LittleEndian.PutUint64(content[512:], uint64(version))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content = content
	return content
}

// meteredListener counts what its connections move.
type meteredListener struct {
	net.Listener
	moved *atomic.Int64
}

func (l *meteredListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &meteredConn{c, l.moved}, nil
}

type meteredConn struct {
	net.Conn
	moved *atomic.Int64
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.moved.Add(int64(n))
	return n, err
}

func (c *meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.moved.Add(int64(n))
	return n, err
}

// following starts a daemon that keeps the two newest contents of the site's image.
func (s *site) following(t *testing.T) *harness.Daemon {
	t.Helper()
	dir := filesystem(t, "xfs")
	return harness.Start(t, harness.Config{Tables: fmt.Sprintf(`
[[image_source]]
name = "web"
kind = "http"
url = %q

[[backend]]
name = "local"
kind = "file"
path = %q

[[follow]]
url = %q
keep = 2
every = "10s"
`, s.URL, dir, s.URL+"/latest.raw")})
}

// awaitCached waits until an entry holds the content.
func awaitCached(t *testing.T, c *api.Client, content []byte) {
	t.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	harness.Until(t, "the image with "+digest+" is cached, and its fill has ended", func() bool {
		if !slices.ContainsFunc(entries(t, c), func(e plugin.EntryView) bool { return e.Digest == digest }) {
			return false
		}
		fills, err := c.Fills(t.Context()) // who comes while one is about to end joins it
		if err != nil {
			t.Fatal(err)
		}
		return len(fills) == 0
	})
}

func entries(t *testing.T, c *api.Client) []plugin.EntryView {
	t.Helper()
	ready, err := c.Entries(t.Context(), plugin.EntryFilter{State: "ready"})
	if err != nil {
		t.Fatal(err)
	}
	return ready
}

// sweep has the daemon look at the site.
func sweep(t *testing.T, c *api.Client) {
	t.Helper()
	rules, err := c.Sweep(t.Context())
	if err != nil || len(rules) != 1 || rules[0].Error != "" {
		t.Fatalf("sweep: %+v, %v", rules, err)
	}
}

// wantFirstHit wants the first request of a new version to be a hit that has its bytes.
func wantFirstHit(t *testing.T, c *api.Client, volume string, want []byte) {
	t.Helper()
	a, err := c.CreateVolume(t.Context(), api.CreateRequest{Image: "web:latest.raw", Volume: backends.VolumeName(volume)}, nil)
	if err != nil || a.Outcome != plugin.Hit {
		t.Fatalf("%s: %s (%s %s), %v, want a hit", volume, a.Outcome, a.Reason, a.Detail, err)
	}
	got, err := os.ReadFile(a.Path)
	if err != nil || !bytes.HasPrefix(got, want) || len(bytes.TrimLeft(got[len(want):], "\x00")) > 0 {
		t.Errorf("%s has other bytes (%v)", volume, err)
	}
}

// The first request of each new version of a followed image is a hit, and has that version's bytes; two versions are kept.
// What has not changed costs the site next to nothing.
func TestEachNewVersionOfAFollowedImageIsAHitAtFirst(t *testing.T) {
	const polls, most = 10, 4 << 10
	versions, err := strconv.Atoi(cmp.Or(os.Getenv(followedVersions), "20"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.publish(0)
	d := s.following(t)
	c := d.Client(t)
	for version := range versions {
		content := s.publish(version)
		sweep(t, c)
		awaitCached(t, c, content)
		wantFirstHit(t, c, fmt.Sprintf("v-%03d", version), content)
	}
	before := s.moved.Load()
	for range polls {
		sweep(t, c)
	}
	if moved := s.moved.Load() - before; moved > polls*most {
		t.Errorf("%d polls of what has not changed moved %d bytes, want %d each at most", polls, moved, most)
	}
	harness.Until(t, "two versions are left", func() bool { return len(entries(t, c)) == 2 })
	d.Consistent(t)
}

// A new version is found without anybody's word.
func TestANewVersionOfAFollowedImageIsFoundInTime(t *testing.T) {
	s := newSite(t)
	content := s.publish(0)
	d := s.following(t)
	c := d.Client(t)
	awaitCached(t, c, content)
	content = s.publish(1)
	awaitCached(t, c, content)
	wantFirstHit(t, c, "v", content)
}
