package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// TestAnAnswerThatNobodyTakesIsKnown hangs up once the volume is made, and asks what Deliver said.
func TestAnAnswerThatNobodyTakesIsKnown(t *testing.T) {
	for _, accept := range []string{"application/json", "application/x-ndjson"} {
		t.Run(accept, func(t *testing.T) {
			made, hungUp, told := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			fake := newFake()
			fake.create = func(_ context.Context, r plugin.Request) (plugin.Answer, error) {
				close(made)
				<-hungUp
				err := r.Deliver(plugin.Answer{Outcome: plugin.Hit, Volume: r.Volume})
				told <- err
				return plugin.Answer{Outcome: plugin.Bypassed, Reason: plugin.ReasonUndelivered}, nil
			}
			d := startDaemon(t, fake, api.ServerConfig{})
			conn := d.post(t, accept, `{"image":"lib:a","volume":"v1"}`)
			<-made
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			close(hungUp)
			if err := <-told; err == nil {
				t.Error("the answer counts as delivered, though its client had hung up")
			}
		})
	}
}

func TestAnAnswerIsDeliveredOnceAndWhole(t *testing.T) {
	for _, stream := range []bool{false, true} {
		fake := newFake()
		fake.create = func(_ context.Context, r plugin.Request) (plugin.Answer, error) {
			a := plugin.Answer{Outcome: plugin.Hit, Volume: r.Volume, SizeBytes: 42}
			if err := r.Deliver(a); err != nil {
				return plugin.Answer{}, err
			}
			return a, nil
		}
		d := startDaemon(t, fake, api.ServerConfig{})
		var onProgress func(plugin.Progress)
		if stream {
			onProgress = func(plugin.Progress) {}
		}
		for i := range 3 { // the connection is used again
			a, err := d.client.CreateVolume(t.Context(), api.CreateRequest{Image: "lib:a", Volume: "v", Deadline: time.Now().Add(time.Minute)}, onProgress)
			if err != nil || a.SizeBytes != 42 {
				t.Errorf("request %d: got %+v, %v, want the answer", i, a, err)
			}
		}
	}
}

func TestAnAnswerAfterItsDeadlineIsNotDelivered(t *testing.T) {
	fake := newFake()
	told := make(chan error, 1)
	fake.create = func(_ context.Context, r plugin.Request) (plugin.Answer, error) {
		told <- r.Deliver(plugin.Answer{Outcome: plugin.Hit, Volume: r.Volume})
		return plugin.Answer{}, errors.New("too late")
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	_, err := d.client.CreateVolume(t.Context(), api.CreateRequest{Image: "lib:a", Volume: "v", Deadline: time.Now().Add(-time.Second)}, nil)
	if err == nil || <-told == nil {
		t.Errorf("got %v, want an answer that came too late", err)
	}
}

func TestWhatTheHookKnowsReachesThePlugin(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	if _, err := d.client.CreateVolume(t.Context(), api.CreateRequest{Image: "lib:a", Volume: "v", VolumeType: "rbd1", Encrypted: true, ProjectID: "p1"}, nil); err != nil {
		t.Fatal(err)
	}
	if got := fake.asked[0]; got.VolumeType != "rbd1" || !got.Encrypted || got.ProjectID != "p1" {
		t.Errorf("got %+v, want type and encryption", got)
	}
}

// post sends the hook's request and returns its connection, with nothing read from it.
func (d *daemon) post(t testing.TB, accept, body string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w := bufio.NewWriter(conn)
	fmt.Fprintf(w, "POST /v1/backends/local/volumes HTTP/1.1\r\nHost: x\r\nAccept: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", accept, len(body), strings.TrimSpace(body))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return conn
}
