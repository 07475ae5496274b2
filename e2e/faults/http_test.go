package faults

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// web is a server of one image whose answers a test spoils. It gives the digest of the true content
// where promise is set.
type web struct {
	name    string
	content []byte
	promise bool

	mu    sync.Mutex
	gets  int                                                         // of the image so far
	spoil func(n int, w http.ResponseWriter, r *http.Request) handled // of the nth GET, from 1 on; nil: all is well
	etag  string
}

// handled tells whether a request was answered.
type handled bool

func (s *web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.promise && strings.HasSuffix(r.URL.Path, "/SHA256SUMS") {
		fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(s.content), s.name)
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/"+s.name) {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	if r.Method == http.MethodGet {
		s.gets++
	}
	n, spoil, etag := s.gets, s.spoil, s.etag
	s.mu.Unlock()
	w.Header().Set("ETag", etag)
	if r.Method == http.MethodGet && spoil != nil && spoil(n, w, r) {
		return
	}
	http.ServeContent(w, r, s.name, time.Time{}, bytes.NewReader(s.content))
}

// heal ends all that is wrong with the server. Its image has a new revision, as after an upload.
func (s *web) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoil, s.etag = nil, `"healed"`
}

// How long the source waits for a byte: where all stalls are to be given up, and where the one that
// follows must not be taken for a stall, however busy the machine is. All of a look at an image is to be answered in soon, too.
const (
	soon  = 3 * time.Second
	later = 5 * time.Second
	never = time.Minute
)

// serve starts the server and a source on it that waits so long for a byte.
func (s *web) serve(t *testing.T, wait time.Duration) imagesource.Source {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	source, err := imagesource.NewHTTP(imagesource.HTTPConfig{
		Name: "web", URL: server.URL, Stall: wait, Retries: 2, Backoff: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// part answers with the content from a range's beginning on, up to offset to; then the stream ends as
// then says.
func part(s *web, to int, then func(http.ResponseWriter, *http.Request)) func(int, http.ResponseWriter, *http.Request) handled {
	return func(_ int, w http.ResponseWriter, r *http.Request) handled {
		var from int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Length", fmt.Sprint(len(s.content)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(s.content)-1, len(s.content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(s.content[from:max(from, to)])
		w.(http.Flusher).Flush()
		then(w, r)
		return true
	}
}

// reset breaks the connection off.
func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// stall sends nothing more until the client has gone.
func stall(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// whole serves other bytes than the content, with the length and the ETag that it is told.
func whole(content []byte, length int, etag string) func(int, http.ResponseWriter, *http.Request) handled {
	return func(_ int, w http.ResponseWriter, _ *http.Request) handled {
		w.Header().Set("ETag", etag)
		if length >= 0 {
			w.Header().Set("Content-Length", fmt.Sprint(length))
		}
		w.Write(content)
		return true
	}
}

// chunked serves content without a length.
func chunked(content []byte) func(int, http.ResponseWriter, *http.Request) handled {
	return func(_ int, w http.ResponseWriter, _ *http.Request) handled {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		io.Copy(w, bytes.NewReader(content))
		return true
	}
}

// first is one answer to the first GET and another to those that resume it.
func first(one, rest func(int, http.ResponseWriter, *http.Request) handled) func(int, http.ResponseWriter, *http.Request) handled {
	return func(n int, w http.ResponseWriter, r *http.Request) handled {
		if n == 1 {
			return one(n, w, r)
		}
		return rest(n, w, r)
	}
}

// well lets the server answer as it should.
func well(int, http.ResponseWriter, *http.Request) handled { return false }

type spoiling = func(int, http.ResponseWriter, *http.Request) handled

// faultyServers spoil the image's GETs. code is what the requester is told; "" where the volume is made
// all the same. With a digest that is known from SHA256SUMS, more is noticed.
var faultyServers = []struct {
	name    string
	promise bool
	spoil   func(s *web) spoiling
	stall   time.Duration // 0: never
	code    string
	becomes func([]byte) []byte // the image that is served is this; nil: the one that was there first
}{
	{name: "stalls before the head", stall: soon, code: "image_source_unavailable", spoil: func(*web) spoiling {
		return func(_ int, _ http.ResponseWriter, r *http.Request) handled { stall(nil, r); return true }
	}},
	{name: "stalls at the first byte", stall: soon, code: "image_source_unavailable", spoil: func(s *web) spoiling { return part(s, 0, stall) }},
	{name: "stalls in the middle for ever", stall: soon, code: "image_source_unavailable", spoil: func(s *web) spoiling { return part(s, len(s.content)/2, stall) }},
	{name: "stalls once", stall: later, spoil: func(s *web) spoiling { return first(part(s, len(s.content)/2, stall), well) }},
	{name: "stalls before the last byte once", stall: later, spoil: func(s *web) spoiling { return first(part(s, len(s.content)-1, stall), well) }},
	{name: "resets at once, always", code: "image_source_unavailable", spoil: func(*web) spoiling {
		return func(int, http.ResponseWriter, *http.Request) handled { panic(http.ErrAbortHandler) }
	}},
	{name: "resets in the middle, always", code: "image_truncated", spoil: func(s *web) spoiling { return part(s, len(s.content)/2, reset) }},
	{name: "resets once", spoil: func(s *web) spoiling { return first(part(s, len(s.content)/3, reset), well) }},
	{name: "resets and is gone", code: "image_not_found", spoil: func(s *web) spoiling {
		return first(part(s, len(s.content)/2, reset), func(_ int, w http.ResponseWriter, r *http.Request) handled { http.NotFound(w, r); return true })
	}},
	{name: "resets and answers 500", code: "image_truncated", spoil: func(s *web) spoiling {
		return first(part(s, len(s.content)/2, reset), func(_ int, w http.ResponseWriter, _ *http.Request) handled {
			http.Error(w, "broken", http.StatusInternalServerError)
			return true
		})
	}},
	{name: "resets and has no ranges", spoil: func(s *web) spoiling {
		return first(part(s, len(s.content)/2, reset), whole(s.content, len(s.content), `"1"`))
	}},
	{name: "announces more than it has", code: "image_changed", spoil: func(s *web) spoiling { return whole(s.content, len(s.content)+512, `"1"`) }},
	{name: "announces less than it has", code: "image_changed", spoil: func(s *web) spoiling { return whole(s.content[:len(s.content)-512], len(s.content)-512, `"1"`) }},
	{name: "sends less than it announced, in chunks", code: "image_truncated", spoil: func(s *web) spoiling { return chunked(s.content[:len(s.content)/2]) }},
	{name: "sends more than it announced, in chunks", code: "image_changed", spoil: func(s *web) spoiling {
		return chunked(append(bytes.Clone(s.content), make([]byte, 512)...))
	}},
	{name: "has another image by now", becomes: other, spoil: func(s *web) spoiling { return whole(other(s.content), len(s.content), `"2"`) }},
	{name: "changes in the middle", becomes: other, spoil: func(s *web) spoiling {
		return first(part(s, len(s.content)/2, reset), func(_ int, w http.ResponseWriter, r *http.Request) handled {
			w.Header().Set("ETag", `"2"`)
			http.ServeContent(w, r, s.name, time.Time{}, bytes.NewReader(other(s.content)))
			return true
		})
	}},
	{name: "sends other bytes than the digest says", promise: true, code: "digest_mismatch", spoil: func(s *web) spoiling {
		return whole(other(s.content), len(s.content), `"1"`)
	}},
	{name: "resumes with other bytes", promise: true, code: "digest_mismatch", spoil: func(s *web) spoiling {
		return first(part(s, len(s.content)/2, reset), func(_ int, w http.ResponseWriter, r *http.Request) handled {
			http.ServeContent(w, r, s.name, time.Time{}, bytes.NewReader(other(s.content)))
			return true
		})
	}},
	{name: "resumes at another offset", code: "image_truncated", spoil: func(s *web) spoiling {
		return first(part(s, len(s.content)/2, reset), func(_ int, w http.ResponseWriter, r *http.Request) handled {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-", len(s.content)/2+1))
			return false
		})
	}},
}

// other is content that differs, at its end too.
func other(content []byte) []byte {
	o := bytes.Clone(content)
	for i := len(o) / 3; i < len(o); i++ {
		o[i] ^= 0xff
	}
	return o
}

// A server that stalls, breaks off, lies about the length, changes the image or serves other bytes is
// found out or got over; in neither case does anything wrong get into a volume, or anything stay.
func TestAFaultyServer(t *testing.T) {
	mount := mountXFS(t)
	for _, format := range []string{"raw", "qcow2"} {
		disk, image := makeImage(t, format)
		for _, f := range faultyServers {
			if f.becomes != nil && format != "raw" { // the disk in it would have to be known
				continue
			}
			t.Run(format+"/"+f.name, func(t *testing.T) {
				if f.stall > 0 { // it waits most of its time
					t.Parallel()
				}
				s := &web{name: "disk." + format, content: image, promise: f.promise, etag: `"1"`}
				s.spoil = f.spoil(s)
				r := newRig(t, filepath.Join(mount, t.Name()), rigConfig{sources: []imagesource.Source{s.serve(t, cmp.Or(f.stall, never))}})
				ref := "web:disk." + format
				switch {
				case f.becomes != nil:
					r.served(t, ref, "v", f.becomes(disk))
					return
				case f.code == "":
					r.served(t, ref, "v", disk)
					return
				}
				r.refused(t, ref, f.code)
				s.heal()
				r.served(t, ref, "v", disk)
			})
		}
	}
}
