package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin/api"
)

// daemon is a server on a real unix socket.
type daemon struct {
	server *api.Server
	client *api.Client
	socket string
	log    *lockedBuffer
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// shortDir is a directory whose path a socket's may begin with.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func startDaemon(t testing.TB, svc api.Service, cfg api.ServerConfig) *daemon {
	t.Helper()
	d := &daemon{socket: filepath.Join(shortDir(t), "run", "cc.sock"), log: &lockedBuffer{}}
	logger := logrus.New()
	logger.SetOutput(d.log)
	logger.SetLevel(logrus.DebugLevel)
	cfg.Log = logger
	var err error
	if d.server, err = api.NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	if svc != nil {
		d.server.Ready(svc)
	}
	serve(t, d.server, "unix://"+d.socket, api.ListenConfig{})
	if d.client, err = api.NewClient("unix://"+d.socket, api.ClientConfig{}); err != nil {
		t.Fatal(err)
	}
	return d
}

// serve serves until the test ends, and returns the listener's own URL.
func serve(t testing.TB, server *api.Server, url string, cfg api.ListenConfig) string {
	t.Helper()
	listeners, err := api.Listen(t.Context(), []string{url}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listeners) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listeners[0].URL
}

// raw sends a request as it is and returns status and body.
func (d *daemon) raw(t testing.TB, method, path, body string) (int, string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(got)
}

// apiError is err as the client promises it.
func apiError(t testing.TB, err error) *api.Error {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T (%v), want an *api.Error", err, err)
	}
	return e
}
