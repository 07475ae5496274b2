package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/oci"
)

const (
	archive  = "application/vnd.oci.image.layer.v1.tar+gzip"
	manifest = "application/vnd.oci.image.manifest.v1+json"
	index    = "application/vnd.oci.image.index.v1+json"
)

// fakeRegistry is a registry on loopback that can be made to fail.
type fakeRegistry struct {
	*httptest.Server
	mu       sync.Mutex
	password string // that it wants of user "me"; "": none
	cut      int    // bytes of the next blob that is read, after which it breaks off; 0: none
	spoil    string // a path of which an answer's last byte is another one
}

func newRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	f := &fakeRegistry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		password, cut, spoilt := f.password, f.cut, f.spoil != "" && strings.HasSuffix(r.URL.Path, f.spoil)
		blob := r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
		if blob {
			f.cut = 0
		}
		f.mu.Unlock()
		if user, given, _ := r.BasicAuth(); password != "" && (user != "me" || given != password) {
			w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if blob && (cut > 0 || spoilt) || spoilt {
			rec := httptest.NewRecorder()
			inner.ServeHTTP(rec, r)
			damaged(w, rec, cut, spoilt)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// damaged sends an answer that was cut or spoilt.
func damaged(w http.ResponseWriter, rec *httptest.ResponseRecorder, cut int, spoilt bool) {
	body := bytes.Clone(rec.Body.Bytes())
	for name, values := range rec.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if spoilt && len(body) > 0 {
		body[len(body)-1] ^= 1
	}
	w.WriteHeader(rec.Code)
	if cut > 0 && cut < len(body) {
		_, _ = w.Write(body[:cut])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

func (f *fakeRegistry) set(change func()) { f.mu.Lock(); defer f.mu.Unlock(); change() }

// put sends something to the registry.
func (f *fakeRegistry) put(t *testing.T, method, path, kind string, body []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	a, err := f.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode/100 != 2 {
		text, _ := io.ReadAll(a.Body)
		t.Fatalf("%s %s: %d %s", method, path, a.StatusCode, text)
	}
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// push makes an image of one layer, and returns the digests of its manifest and of the layer.
func (f *fakeRegistry) push(t *testing.T, name, tag, kind, title string, layer []byte) (ofManifest, ofLayer string) {
	t.Helper()
	ofLayer = digestOf(layer)
	for _, b := range [][]byte{layer, []byte("{}")} {
		f.put(t, http.MethodPost, "/v2/"+name+"/blobs/uploads/?digest="+digestOf(b), "application/octet-stream", b)
	}
	d := map[string]any{"mediaType": kind, "digest": ofLayer, "size": len(layer)}
	if title != "" {
		d["annotations"] = map[string]string{"org.opencontainers.image.title": title}
	}
	text, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifest, "layers": []any{d},
		"config": map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": digestOf([]byte("{}")), "size": 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.put(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag, manifest, text)
	return digestOf(text), ofLayer
}

// containerdisk is a layer with a disk in it.
func containerdisk(t *testing.T, name string, disk []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	write := func(h *tar.Header, content []byte) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	write(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Size: 4}, []byte("root"))
	write(&tar.Header{Name: "disk/", Typeflag: tar.TypeDir}, nil)
	write(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(disk))}, disk)
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // it never fails
	return b
}

func (f *fakeRegistry) source(t *testing.T, change func(*oci.Config)) *oci.Source {
	t.Helper()
	c := oci.Config{Name: "registry", URL: f.URL + "/disks", Backoff: time.Millisecond, Retries: 2}
	if change != nil {
		change(&c)
	}
	s, err := oci.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read is an image's bytes.
func read(ctx context.Context, s *oci.Source, id string) (imagesource.Image, []byte, error) {
	i, err := s.Stat(ctx, id)
	if err != nil {
		return i, nil, err
	}
	r, err := s.Open(ctx, i)
	if err != nil {
		return i, nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return i, b, err
}

func TestArtifactsAndContainerdisks(t *testing.T) {
	f := newRegistry(t)
	disk := random(3 << 20)
	plainManifest, plain := f.push(t, "disks/plain", "1", "application/vnd.acme.disk", "debian.qcow2", disk)
	_, packed := f.push(t, "disks/os/fedora", "latest", archive, "", containerdisk(t, "./disk/fedora.img", disk))
	s := f.source(t, nil)
	for _, tt := range []struct {
		id   string
		want imagesource.Image
	}{
		{"plain:1", imagesource.Image{Revision: plain, SizeBytes: int64(len(disk)), DiskFormat: "qcow2"}},
		{"plain@" + plainManifest, imagesource.Image{Revision: plain, SizeBytes: int64(len(disk)), DiskFormat: "qcow2"}},
		{"os/fedora", imagesource.Image{Revision: "disk in " + packed, SizeBytes: -1}},
		{"os/fedora:latest", imagesource.Image{Revision: "disk in " + packed, SizeBytes: -1}},
	} {
		for _, cut := range []int{0, 100_000} {
			f.set(func() { f.cut = cut })
			i, got, err := read(t.Context(), s, tt.id)
			if err != nil || !bytes.Equal(got, disk) {
				t.Errorf("%s, cut at %d: %d bytes, %v", tt.id, cut, len(got), err)
			}
			if i.Source != "registry" || i.ID != tt.id || i.Revision != tt.want.Revision || i.SizeBytes != tt.want.SizeBytes || i.DiskFormat != tt.want.DiskFormat || !i.Stable() {
				t.Errorf("%s: %+v", tt.id, i)
			}
			if promised := i.Digest.String(); promised != "" && promised != plain || promised == "" && tt.want.SizeBytes >= 0 {
				t.Errorf("%s: digest %q", tt.id, promised)
			}
		}
	}
}

func TestATagThatIsMoved(t *testing.T) {
	f := newRegistry(t)
	s := f.source(t, nil)
	old, later := random(200_000), random(100_000)
	f.push(t, "disks/plain", "1", "application/vnd.acme.disk", "", old)
	before, err := s.Stat(t.Context(), "plain:1")
	if err != nil {
		t.Fatal(err)
	}
	f.push(t, "disks/plain", "1", "application/vnd.acme.disk", "", later)
	r, err := s.Open(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, old) {
		t.Errorf("what was there when it was looked at: %d bytes, %v", len(got), err)
	}
	i, got, err := read(t.Context(), s, "plain:1")
	if err != nil || !bytes.Equal(got, later) || i.SameRevision(before) {
		t.Errorf("after it was moved: %d bytes, %v, %s", len(got), err, i.Revision)
	}
}

func TestWhatIsWrong(t *testing.T) {
	f := newRegistry(t)
	layer := containerdisk(t, "disk/a.img", random(100_000))
	_, packed := f.push(t, "disks/packed", "1", archive, "", layer)
	f.push(t, "disks/empty", "1", archive, "", containerdisk(t, "other/a.img", []byte("x")))
	f.push(t, "disks/noarchive", "1", archive, "", random(1000))
	f.put(t, http.MethodPut, "/v2/disks/index/manifests/1", index, []byte(`{"schemaVersion":2,"mediaType":"`+index+`","manifests":[]}`))
	f.put(t, http.MethodPut, "/v2/disks/undigested/manifests/1", manifest, []byte(`{"schemaVersion":2,"mediaType":"`+manifest+`","layers":[{"mediaType":"`+archive+`","digest":"sha256:`+strings.Repeat("x", 1<<20)+`","size":1}]}`))
	s := f.source(t, nil)
	if _, err := s.Stat(t.Context(), "undigested:1"); !errors.Is(err, imagesource.ErrRefused) || len(err.Error()) > 1000 {
		t.Errorf("a layer whose digest is none: %.300v, want %v", err, imagesource.ErrRefused)
	}
	for _, tt := range []struct {
		name, id string
		change   func()
		want     error
	}{
		{"no such tag", "packed:2", nil, imagesource.ErrNotFound},
		{"no such name", "other", nil, imagesource.ErrNotFound},
		{"no name", ":1", nil, imagesource.ErrRefused},
		{"a name out of the registry", "../x", nil, imagesource.ErrRefused},
		{"no file below /disk", "empty:1", nil, imagesource.ErrRefused},
		{"a layer that is no archive", "noarchive:1", nil, imagesource.ErrRefused},
		{"an index without this machine's architecture", "index:1", nil, imagesource.ErrRefused},
		{"a layer that is not what its digest says", "packed:1", func() { f.spoil = "/blobs/" + packed }, imagesource.ErrDigestMismatch},
		{"a manifest that is not what its digest says", "packed:1", func() { f.spoil = "/manifests/1" }, imagesource.ErrDigestMismatch},
		{"a login is wanted", "packed:1", func() { f.spoil, f.password = "", "secret" }, imagesource.ErrLogin},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				f.set(tt.change)
			}
			if _, _, err := read(t.Context(), s, tt.id); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	password := filepath.Join(t.TempDir(), "password")
	login := f.source(t, func(c *oci.Config) { c.User, c.PasswordFile = "me", password })
	for _, tt := range []struct {
		text string
		want error
	}{{"wrong\n", imagesource.ErrLogin}, {"secret\n", nil}} {
		text, want := tt.text, tt.want
		if err := os.WriteFile(password, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := read(t.Context(), login, "packed:1"); !errors.Is(err, want) {
			t.Errorf("password %q: %v, want %v", text, err, want)
		}
		if err := login.Check(t.Context()); !errors.Is(err, want) {
			t.Errorf("check with password %q: %v, want %v", text, err, want)
		}
	}
	f.Close()
	if _, _, err := read(t.Context(), login, "packed:1"); !errors.Is(err, imagesource.ErrUnavailable) {
		t.Errorf("without a registry: %v", err)
	}
}
