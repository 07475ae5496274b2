package glance

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

const id = "5472a898-2e02-47ce-a336-564e06aadf01"

// fakeGlance speaks the recorded answers of Glance 25.1 for one image.
type fakeGlance struct {
	*httptest.Server

	mu       sync.Mutex
	data     []byte
	fields   map[string]string // JSON values that differ from those of an active, shared image
	tokens   map[string]bool   // that it accepts; those beginning with "admin" get the bytes whatever the status
	noRanges bool              // as the rbd store
	gone     bool
	down     int   // 503 to so many requests for data
	breakAt  []int // bytes after which the answers to requests for data break off; then none
	// between runs after an answer broke off.
	between func()
	reads   []string // token and Range of each request for data
}

func newFake(t *testing.T) *fakeGlance {
	t.Helper()
	data := make([]byte, 300<<10)
	for i := range data {
		data[i] = byte(rand.Int())
	}
	f := &fakeGlance{data: data, fields: map[string]string{}, tokens: map[string]bool{"mine": true, "theirs": true}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/images", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"images":[]}`) })
	mux.HandleFunc("GET /v2/images/"+id, f.show)
	mux.HandleFunc("GET /v2/images/"+id+"/file", f.file)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeGlance) digest() imagesource.Digest {
	sum := sha512.Sum512(f.data)
	return imagesource.Digest{Algorithm: imagesource.SHA512, Hex: hex.EncodeToString(sum[:])}
}

// let tells whether a request is let in; f.mu is held.
func (f *fakeGlance) let(w http.ResponseWriter, r *http.Request) bool {
	if !f.tokens[r.Header.Get("X-Auth-Token")] {
		w.Header().Set("Www-Authenticate", `Keystone uri="http://keystone"`)
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	if f.gone {
		http.Error(w, "No image found with ID "+id, http.StatusNotFound)
		return false
	}
	return true
}

func (f *fakeGlance) show(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.let(w, r) {
		return
	}
	fields := map[string]string{
		"id": `"` + id + `"`, "name": `"graw"`, "status": `"active"`, "disk_format": `"raw"`, "container_format": `"bare"`,
		"visibility": `"shared"`, "owner": `"9ac9"`, "size": fmt.Sprint(len(f.data)), "virtual_size": fmt.Sprint(len(f.data)),
		"min_disk": "0", "os_hash_algo": `"sha512"`, "os_hash_value": `"` + f.digest().Hex + `"`, "updated_at": `"2026-11-20T13:27:00Z"`,
		"checksum": `"58b5e1671b23eac3837117ff51b74470"`, "tags": "[]", "os_hidden": "false",
	}
	for name, value := range f.fields {
		fields[name] = value
	}
	var list []string
	for name, value := range fields {
		list = append(list, fmt.Sprintf("%q:%s", name, value))
	}
	fmt.Fprintf(w, "{%s}", strings.Join(list, ","))
}

func (f *fakeGlance) file(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	token := r.Header.Get("X-Auth-Token")
	f.reads = append(f.reads, strings.TrimSpace(token+" "+r.Header.Get("Range")))
	if !f.let(w, r) {
		return
	}
	switch {
	case f.down > 0:
		f.down--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case f.fields["status"] == `"queued"`:
		w.WriteHeader(http.StatusNoContent)
		return
	case f.fields["status"] == `"deactivated"` && !strings.HasPrefix(token, "admin"):
		http.Error(w, "The requested image has been deactivated. Image data download is forbidden.", http.StatusForbidden)
		return
	case f.noRanges && r.Header.Get("Range") != "":
		http.Error(w, "Getting images randomly from this store is not supported. Offset: 0, length: 10", http.StatusBadRequest)
		return
	}
	f.serve(w, r)
}

func (f *fakeGlance) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if len(f.breakAt) == 0 {
		http.ServeContent(plain{w}, r, "", time.Time{}, bytes.NewReader(f.data))
		return
	}
	at := f.breakAt[0]
	f.breakAt = f.breakAt[1:]
	defer func() {
		if f.between != nil {
			f.between()
		}
	}()
	http.ServeContent(&breaking{plain{w}, at}, r, "", time.Time{}, bytes.NewReader(f.data))
}

// plain leaves out what Glance does not send.
type plain struct{ http.ResponseWriter }

func (p plain) WriteHeader(status int) {
	p.Header().Del("Accept-Ranges")
	p.Header().Del("Last-Modified")
	p.ResponseWriter.WriteHeader(status)
}

// breaking lets so many bytes pass, then breaks the connection.
type breaking struct {
	plain
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) <= b.left {
		b.left -= len(p)
		return b.plain.Write(p)
	}
	_, _ = b.plain.Write(p[:b.left])
	if f, ok := b.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// fakeAccount has the token "mine", and after that "mine-2".
type fakeAccount struct {
	glance *fakeGlance
	mu     sync.Mutex
	token  imagesource.Token
	err    error
	asked  int
}

func (a *fakeAccount) Token(context.Context) (imagesource.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	return a.token, a.err
}

func (a *fakeAccount) Renew(context.Context, imagesource.Token) (imagesource.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token += "-2"
	return a.token, a.err
}

func (a *fakeAccount) Endpoint(context.Context) (string, error) { return a.glance.URL + "/", a.err }
func (a *fakeAccount) Transport() (http.RoundTripper, error)    { return http.DefaultTransport, nil }

func (f *fakeGlance) source(t *testing.T) (*Source, *fakeAccount) {
	t.Helper()
	account := &fakeAccount{glance: f, token: "mine"}
	s, err := New(Config{Name: "glance", Account: account, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s, account
}

// by is a context of a requester with a token.
func by(t *testing.T, token imagesource.Token) context.Context {
	return imagesource.WithToken(t.Context(), token)
}
