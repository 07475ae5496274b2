package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestADaemonThatIsNotThereIsUnreachable(t *testing.T) {
	for _, url := range []string{"unix://" + filepath.Join(shortDir(t), "none.sock"), "http://127.0.0.1:1"} {
		client, err := api.NewClient(url, api.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Status(t.Context())
		e := apiError(t, err)
		if e.Code != api.CodeDaemonUnreachable || !strings.Contains(e.Message, url) || !strings.Contains(e.Message, "clonecache serve") {
			t.Errorf("%s: error = %+v", url, e)
		}
	}
}

func TestServerURLs(t *testing.T) {
	for _, url := range []string{"", "clonecache.sock", "unix://relative", "ftp://x", "http://", "http://user:secret@host", "http://h?x=1"} {
		_, err := api.NewClient(url, api.ClientConfig{})
		if e := apiError(t, err); e.Code != api.CodeBadServerURL || strings.Contains(e.Message, "secret") {
			t.Errorf("%q: error = %+v", url, e)
		}
	}
	for _, url := range []string{"unix:///run/x.sock", "http://host:8780", "https://host:8780/"} {
		if _, err := api.NewClient(url, api.ClientConfig{}); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestAServerThatIsNotClonecache(t *testing.T) {
	pages := map[string]http.HandlerFunc{
		"a page":       func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"its own 404":  func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"another JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`["x"]`)) },
	}
	for name, page := range pages {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(page)
			defer server.Close()
			client, err := api.NewClient(server.URL, api.ClientConfig{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Status(t.Context())
			if e := apiError(t, err); e.Code != api.CodeBadAnswer {
				t.Errorf("error = %+v", e)
			}
			_, err = client.CreateVolume(t.Context(), request(), func(plugin.Progress) {})
			if e := apiError(t, err); e.Code != api.CodeBadAnswer {
				t.Errorf("streamed: error = %+v", e)
			}
		})
	}
}

func TestADaemonThatDiesInAStream(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"progress":{"phase":"filling"}}` + "\n"))
	}))
	defer server.Close()
	client, err := api.NewClient(server.URL, api.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CreateVolume(t.Context(), request(), func(plugin.Progress) {})
	if e := apiError(t, err); e.Code != api.CodeDaemonUnreachable || !e.Retryable {
		t.Errorf("error = %+v", e)
	}
}

func TestACallersOwnEndIsNotTheDaemons(t *testing.T) {
	client, err := api.NewClient("http://127.0.0.1:1", api.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}
