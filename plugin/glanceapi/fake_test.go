package glanceapi_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog/catalogtest"
	"github.com/clonecache/clonecache/plugin/glanceapi"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/glance"
)

// The images of the fake Glance, by what is special about them.
const (
	plainImage       = "11111111-1111-4111-8111-111111111111"
	otherImage       = "22222222-2222-4222-8222-222222222222"
	queuedImage      = "33333333-3333-4333-8333-333333333333"
	deactivatedImage = "44444444-4444-4444-8444-444444444444"
	privateImage     = "55555555-5555-4555-8555-555555555555" // demo's
	absentImage      = "99999999-9999-4999-8999-999999999999"
)

// fakeImage is one image of the fake Glance.
type fakeImage struct {
	data   []byte
	status string
	owner  string // "": everybody may see it
	hidden bool   // from lists
	sent   []byte // in place of data; nil: that
}

// fakeGlance speaks the recorded answers of Glance 25.1. Tokens are the names of who has them: admin, demo, other.
type fakeGlance struct {
	*httptest.Server
	account imagesource.Token // the cache's own: an administrator's

	mu       sync.Mutex
	images   map[string]fakeImage
	noRanges bool // as the rbd store
	gates    map[string]chan struct{}
	// breakAt cuts the answers to whole downloads off after so many bytes, one for each value.
	breakAt []int
	whole   int // downloads of more than one byte
	probes  int
	lists   int
	// meet, unless nil, is where who describes an image and who is asked for its first byte wait for each other.
	meet chan struct{}
}

func newFakeGlance(t testing.TB) *fakeGlance {
	t.Helper()
	g := &fakeGlance{account: "admin", gates: map[string]chan struct{}{}, images: map[string]fakeImage{
		plainImage: {data: random(300 << 10), status: "active"}, otherImage: {data: random(100 << 10), status: "active"},
		queuedImage: {status: "queued"}, deactivatedImage: {data: random(1 << 10), status: "deactivated"},
		privateImage: {data: random(50 << 10), status: "active", owner: "demo"},
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /versions", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"versions": [{"id": "v2.15", "status": "CURRENT", "links": [{"rel": "self", "href": "http://glance/v2/"}]}, {"id": "v2.9", "status": "SUPPORTED", "links": []}]}`)
	})
	mux.HandleFunc("GET /v2/images", g.list)
	mux.HandleFunc("GET /v2/images/{id}", g.let(g.show))
	mux.HandleFunc("GET /v2/images/{id}/file", g.let(g.file))
	mux.HandleFunc("DELETE /v2/images/{id}", g.let(g.delete))
	mux.HandleFunc("/", g.other)
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n >> 10)}).Read(b) // it never fails
	return b
}

// let lets those in who have a token and may see the image.
func (g *fakeGlance) let(next func(http.ResponseWriter, *http.Request, fakeImage)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := r.Header.Get("X-Auth-Token")
		if who == "" || strings.HasPrefix(who, "expired") {
			w.Header().Set("Www-Authenticate", `Keystone uri="http://keystone"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		g.mu.Lock()
		i, ok := g.images[r.PathValue("id")]
		g.mu.Unlock()
		if !ok || i.owner != "" && i.owner != who && who != "admin" {
			http.Error(w, "No image found with ID "+r.PathValue("id"), http.StatusNotFound)
			return
		}
		next(w, r, i)
	}
}

func (g *fakeGlance) delete(w http.ResponseWriter, r *http.Request, i fakeImage) {
	if who := r.Header.Get("X-Auth-Token"); who != i.owner && who != "admin" {
		http.Error(w, "You are not authorized to complete delete_image action.", http.StatusForbidden)
		return
	}
	g.set(func() { delete(g.images, r.PathValue("id")) })
	w.WriteHeader(http.StatusNoContent)
}

func (g *fakeGlance) show(w http.ResponseWriter, r *http.Request, i fakeImage) {
	if g.meet != nil {
		select {
		case g.meet <- struct{}{}:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(i.described(r.PathValue("id")))
}

// described is what Glance says of an image.
func (i fakeImage) described(id string) map[string]any {
	m := map[string]any{"id": id, "status": i.status, "disk_format": "raw", "container_format": "bare", "visibility": "public", "owner": i.owner}
	if i.owner != "" {
		m["visibility"] = "private"
	}
	if len(i.data) > 0 {
		sum, long := md5.Sum(i.data), sha512.Sum512(i.data)
		m["size"], m["checksum"], m["os_hash_algo"], m["os_hash_value"] = len(i.data), hex.EncodeToString(sum[:]), "sha512", hex.EncodeToString(long[:])
	}
	return m
}

func (g *fakeGlance) file(w http.ResponseWriter, r *http.Request, i fakeImage) {
	who, ranged := r.Header.Get("X-Auth-Token"), r.Header.Get("Range")
	if g.meet != nil {
		select {
		case <-g.meet:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case i.status == "queued":
		w.WriteHeader(http.StatusNoContent)
		return
	case who == "reader":
		http.Error(w, "You are not authorized to complete download_image action.", http.StatusForbidden)
		return
	case i.status == "deactivated" && who != "admin":
		http.Error(w, "The requested image has been deactivated. Image data download is forbidden.", http.StatusForbidden)
		return
	case g.noRanges && ranged != "":
		http.Error(w, "Getting images randomly from this store is not supported. Offset: 0, length: 1", http.StatusBadRequest)
		return
	}
	sum := md5.Sum(i.data)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Md5", hex.EncodeToString(sum[:]))
	g.serve(plain{w}, r, i)
}

// serve sends the data, up to where it is to break off, and not before its gate is open.
func (g *fakeGlance) serve(w http.ResponseWriter, r *http.Request, i fakeImage) {
	g.mu.Lock()
	at, gate := -1, g.gates[r.PathValue("id")]
	if r.Header.Get("Range") == "bytes=0-0" {
		g.probes++
	} else {
		g.whole++
		if len(g.breakAt) > 0 {
			at, g.breakAt = g.breakAt[0], g.breakAt[1:]
		}
		if gate != nil {
			w = &gated{ResponseWriter: w, left: len(i.data) / 2, gate: gate, done: r.Context().Done()}
		}
	}
	g.mu.Unlock()
	if at >= 0 {
		w = &breaking{w, at}
	}
	if i.sent == nil {
		i.sent = i.data
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(i.sent))
}

func (g *fakeGlance) downloads() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.whole
}

// set changes the fake while it serves.
func (g *fakeGlance) set(change func()) { g.mu.Lock(); defer g.mu.Unlock(); change() }

// plain leaves out what Glance does not send.
type plain struct{ http.ResponseWriter }

func (p plain) WriteHeader(status int) {
	p.Header().Del("Accept-Ranges")
	p.Header().Del("Last-Modified")
	p.ResponseWriter.WriteHeader(status)
}

func (p plain) Flush() { _ = http.NewResponseController(p.ResponseWriter).Flush() }

// gated sends so many bytes, and the rest once its gate is open.
type gated struct {
	http.ResponseWriter
	left int
	gate chan struct{}
	done <-chan struct{}
}

func (g *gated) Write(p []byte) (int, error) {
	if g.left -= len(p); g.left < 0 {
		g.ResponseWriter.(plain).Flush()
		select {
		case <-g.gate:
		case <-g.done:
		}
	}
	return g.ResponseWriter.Write(p)
}

// breaking lets so many bytes pass, then breaks the connection.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) <= b.left {
		b.left -= len(p)
		return b.ResponseWriter.Write(p)
	}
	_, _ = b.ResponseWriter.Write(p[:b.left])
	if f, ok := b.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// Token, Renew, Endpoint and Transport are those of the cache's own account.
func (g *fakeGlance) Token(context.Context) (imagesource.Token, error) { return g.account, nil }
func (g *fakeGlance) Renew(context.Context, imagesource.Token) (imagesource.Token, error) {
	return g.account, nil
}
func (g *fakeGlance) Endpoint(context.Context) (string, error) { return g.URL, nil }
func (g *fakeGlance) Transport() (http.RoundTripper, error)    { return g.Client().Transport, nil }

// Upstream implements glanceapi.Glance.
func (g *fakeGlance) Upstream(context.Context) (*url.URL, http.RoundTripper, error) {
	u, err := url.Parse(g.URL + "/v2/")
	return u, g.Client().Transport, err
}

// fakeKeystone knows tokens by the names of who has them.
type fakeKeystone struct {
	mu    sync.Mutex
	asked int
	gone  map[string]bool // revoked
	down  bool
}

func (k *fakeKeystone) Validate(_ context.Context, token string) (keystone.Bearer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	roles := map[string][]string{"admin": {"admin", "member"}, "demo": {"member"}, "other": {"member"}, "operator": {"cache_operator"},
		"shouting": {"ADMIN"}, "domain": {"admin"}, "system": {"admin"}}
	projects := map[string]string{"domain": "", "system": ""} // of these the tokens are of no project
	switch {
	case k.down:
		return keystone.Bearer{}, fmt.Errorf("ask: %w", internaltenant.ErrUnavailable)
	case roles[token] == nil || k.gone[token]:
		return keystone.Bearer{}, keystone.ErrToken
	}
	project, scoped := projects[token]
	if !scoped {
		project = token
	}
	return keystone.Bearer{UserID: token, ProjectID: project, Roles: roles[token], ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (*fakeKeystone) URL() string { return "http://keystone/v3" }

// front is the API before the fake Glance, on a cache of its own.
type front struct {
	*httptest.Server
	glance   *fakeGlance
	keystone *fakeKeystone
	cache    *plugin.Plugin
	dir      string
	config   plugin.Config
	server   *glanceapi.Server
}

// reopen ends the cache, and opens it anew.
func (f *front) reopen(t testing.TB) {
	t.Helper()
	if f.cache != nil {
		must(t, f.cache.Close(t.Context()))
	}
	var err error
	f.cache, err = plugin.Open(t.Context(), f.config)
	must(t, err)
	f.server.Ready(f.cache, plugin.BytesOf(f.cache))
}

// newFront serves the API. change may change what it is made of.
func newFront(t testing.TB, change ...func(*glanceapi.Config, *plugin.Config)) *front {
	t.Helper()
	f := &front{glance: newFakeGlance(t), keystone: &fakeKeystone{gone: map[string]bool{}}}
	dir := t.TempDir()
	f.dir = dir
	must(t, errors.Join(os.Mkdir(filepath.Join(dir, "volumes"), 0o755), os.Mkdir(filepath.Join(dir, "files"), 0o755)))
	volumes, err := file.Open(t.Context(), file.Config{Name: "local", Path: filepath.Join(dir, "volumes")})
	must(t, err)
	files, err := filecache.Open(t.Context(), filecache.Config{Name: "files", Path: filepath.Join(dir, "files")})
	must(t, err)
	source, err := glance.New(glance.Config{Name: "glance", Account: f.glance, Backoff: time.Millisecond})
	must(t, err)
	api := glanceapi.Config{Source: "glance", Keystone: f.keystone, Glance: f.glance}
	catalogtest.InState(t, filepath.Join(dir, "state"))
	cache := plugin.Config{
		StateDir:   filepath.Join(dir, "state"),
		Backends:   []plugin.BackendConfig{{Name: "local", Backend: volumes, Fallback: "files"}},
		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: files}},
		Sources:    []imagesource.Source{source},
	}
	for _, c := range change {
		c(&api, &cache)
	}
	f.config = cache
	f.server, err = glanceapi.New(api)
	must(t, err)
	f.reopen(t)
	f.Server = httptest.NewServer(f.server)
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(t, errors.Join(f.cache.Close(ctx), files.Close(), volumes.Close()))
	})
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// header is a header for one request, as "Name: value".
type header string

// send sends a request as somebody ("": without a token), and reads the answer.
func (f *front) send(t testing.TB, who, method, path string, headers ...header) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, http.NoBody)
	must(t, err)
	if who != "" {
		r.Header.Set("X-Auth-Token", who)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(string(h), ": ")
		r.Header.Set(name, value)
	}
	answer, err := f.Client().Transport.RoundTrip(r)
	must(t, err)
	defer answer.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(answer.Body)
	must(t, err)
	return answer, body.String()
}
