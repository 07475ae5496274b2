package imagesource

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func ids(all []Listed) []string {
	var list []string
	for _, l := range all {
		list = append(list, l.ID)
	}
	return list
}

func TestADirectoryListsTheNewestFirst(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a.raw", "b.raw", "c.qcow2", "SHA256SUMS", ".hidden.raw", "sub/d.raw"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte{1}, 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	copied := filepath.Join(dir, "copied.raw")
	if err := os.WriteFile(copied, []byte{1}, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(copied, time.Now(), time.Now().Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "out.raw")); err != nil {
		t.Fatal(err)
	}
	d, err := NewDirectory(DirectoryConfig{Name: "lib", Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string][]string{
		"*.raw":   {"b.raw", "a.raw"},
		"*":       {"c.qcow2", "b.raw", "a.raw"},
		"*/*.raw": {"sub/d.raw"},
		"../*":    nil,
		"none*":   nil,
	} {
		if got, err := d.List(t.Context(), Match{Pattern: pattern}); err != nil || !slices.Equal(ids(got), want) {
			t.Errorf("%s: got %q, %v, want %q", pattern, ids(got), err, want)
		}
	}
	for _, m := range []Match{{}, {Pattern: "["}, {Pattern: "*", Owner: "me"}} {
		if _, err := d.List(t.Context(), m); !errors.Is(err, ErrRefused) {
			t.Errorf("%+v: %v, want ErrRefused", m, err)
		}
	}
}

// A list of digests is read once; a poll after that moves next to nothing.
func TestAWebServersListIsPolledForNextToNothing(t *testing.T) {
	var sent atomic.Int64
	var list atomic.Value
	put := func(names ...string) {
		var b strings.Builder
		for i, name := range names {
			fmt.Fprintf(&b, "%064x  %s\n", i+1, name)
		}
		for i := range 1000 { // of other images
			fmt.Fprintf(&b, "%064x  another-%d.img\n", i, i)
		}
		list.Store(b.String())
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := list.Load().(string)
		etag := fmt.Sprintf("%q", fmt.Sprint(len(text)))
		w.Header().Set("ETag", etag)
		switch {
		case r.URL.Path != "/images/stable/SHA256SUMS":
			http.NotFound(w, r)
		case r.Header.Get("If-None-Match") == etag:
			w.WriteHeader(http.StatusNotModified)
		default:
			n, _ := w.Write([]byte(text))
			sent.Add(int64(n))
		}
	}))
	defer server.Close()
	h, err := NewHTTP(HTTPConfig{Name: "web", URL: server.URL + "/images"})
	if err != nil {
		t.Fatal(err)
	}
	put("disk-9.raw", "disk-10.raw", "disk-10.raw.asc")
	want := []string{"stable/disk-10.raw", "stable/disk-9.raw"}
	for range 3 {
		if got, err := h.List(t.Context(), Match{Pattern: "stable/disk-*"}); err != nil || !slices.Equal(ids(got), want) || got[0].Stamp == "" {
			t.Fatalf("got %+v, %v, want %q", got, err, want)
		}
	}
	text, _ := list.Load().(string)
	if n := sent.Load(); n != int64(len(text)) {
		t.Errorf("%d bytes of lists were sent, want one list of %d", n, len(text))
	}
	put("disk-9.raw", "disk-10.raw", "disk-11.raw")
	if got, err := h.List(t.Context(), Match{Pattern: "stable/disk-*"}); err != nil || ids(got)[0] != "stable/disk-11.raw" {
		t.Errorf("a changed list: %q, %v", ids(got), err)
	}
	if _, err := h.List(t.Context(), Match{Pattern: "other/*"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no list: %v, want ErrUnavailable", err)
	}
	for _, m := range []Match{{Pattern: "*/disk"}, {Pattern: "../*"}, {Pattern: "*", Tag: "x"}} {
		if err := h.CheckMatch(m); !errors.Is(err, ErrRefused) {
			t.Errorf("%+v: %v, want ErrRefused", m, err)
		}
	}
}

func TestNumbersInNamesAreNumbers(t *testing.T) {
	names := []string{"disk", "disk-9", "disk-09a", "disk-10", "disk-10.1", "disk-10.2", "diskette"}
	for i, a := range names {
		for j, b := range names {
			if got := compareNumbers(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
}
