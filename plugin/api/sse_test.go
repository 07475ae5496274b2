package api_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// Who asks for server-sent events gets them, from behind the last one that he had.
func TestEventsAreServerSent(t *testing.T) {
	fake := newFake()
	var asked plugin.EventFilter
	fake.follow = func(_ context.Context, f plugin.EventFilter, take func(plugin.Event) error) error {
		asked = f
		for id := f.After + 1; id <= 9; id++ {
			if err := take(plugin.Event{ID: id, Kind: plugin.EventFilled, Detail: "two\nlines"}); err != nil {
				return err
			}
		}
		return plugin.ErrStopping
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://x/v1/events?since=1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", "7")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket)
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type: got %q", got)
	}
	var lines []string
	for scan := bufio.NewScanner(resp.Body); scan.Scan(); {
		line, _, _ := strings.Cut(scan.Text(), "{")
		lines = append(lines, line)
	}
	want := []string{"id: 8", "event: filled", "data: ", "", "id: 9", "event: filled", "data: ", "", "event: error", "data: ", ""}
	if !slices.Equal(lines, want) || asked.After != 7 {
		t.Errorf("got %q after %d, want %q", lines, asked.After, want)
	}
}
