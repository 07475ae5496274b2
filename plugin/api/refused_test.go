package api_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// What a refused reference is answered with names the cause, and neither the host's paths nor secrets.
func TestARefusedReferenceIsToldWhy(t *testing.T) {
	library, outside := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(outside, "geheim"), []byte("x"), 0o600),
		os.Symlink(filepath.Join(outside, "geheim"), filepath.Join(library, "out.raw")),
		os.Symlink("round.raw", filepath.Join(library, "round.raw")),
		os.Mkdir(filepath.Join(library, "dir"), 0o700),
		syscall.Mkfifo(filepath.Join(library, "fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/images/away.raw", http.RedirectHandler("http://other.example.org/a.raw?token=geheim", http.StatusFound))
	mux.Handle("/images/loop.raw", http.RedirectHandler("/images/loop.raw?token=geheim", http.StatusFound))
	mux.HandleFunc("/images/gzip.raw", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Encoding", "gzip") })
	server := httptest.NewServer(mux)
	defer server.Close()
	directory, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: library})
	if err != nil {
		t.Fatal(err)
	}
	web, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: server.URL + "/images"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source imagesource.Source
		id     string
		want   string
	}{
		{directory, "out.raw", "leads out of"},
		{directory, "round.raw", "in a circle"},
		{directory, "dir", "it is a directory"},
		{directory, "fifo", "it is a FIFO"},
		{directory, "../a.raw", "not a plain relative path"},
		{web, "away.raw", "to http://other.example.org"},
		{web, "loop.raw", "more than 5 redirects"},
		{web, "gzip.raw", `encoded as "gzip"`},
	} {
		t.Run(c.id, func(t *testing.T) {
			_, err := c.source.Stat(t.Context(), c.id)
			got := api.Explain(err)
			code := "image_reference_refused"
			if c.id == "away.raw" || c.id == "loop.raw" {
				code = "image_redirect_refused"
			}
			if got.Code != code || !strings.Contains(got.Message, c.want) {
				t.Errorf("got %s: %s; want a message with %q", got.Code, got.Message, c.want)
			}
			if strings.Contains(got.Message, "geheim") || strings.Contains(got.Message, library) {
				t.Errorf("it tells too much: %s", got.Message)
			}
		})
	}
}
