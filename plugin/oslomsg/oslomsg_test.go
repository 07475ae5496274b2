package oslomsg_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin/oslomsg"
)

// A notification as a service sent it, and what is no notification.
func TestDecode(t *testing.T) {
	inner := `{"message_id": "m1", "publisher_id": "image.host", "event_type": "image.activate", "priority": "INFO", ` +
		`"payload": {"id": "i1"}, "timestamp": "2026-11-20 13:24:29.433999", "_unique_id": "u", "_context_user": null}`
	text, _ := json.Marshal(inner)
	for name, body := range map[string]string{
		"enveloped": `{"oslo.version": "2.0", "oslo.message": ` + string(text) + `}`,
		"bare":      inner,
	} {
		n, err := oslomsg.Decode([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := time.Date(2026, 11, 20, 13, 24, 29, 433999000, time.UTC)
		if n.ID != "m1" || n.Event != "image.activate" || n.Priority != oslomsg.Info || string(n.Payload) != `{"id": "i1"}` || !n.At.Equal(want) {
			t.Errorf("%s: got %+v", name, n)
		}
	}
	for name, body := range map[string]string{
		"nothing": "", "no JSON": "hello", "a list": "[]", "no event": "{}", "null": "null", "an envelope of rubbish": `{"oslo.message": "x"}`,
		"too large": `{"event_type": "` + strings.Repeat("x", oslomsg.MaxBody) + `"}`,
	} {
		if _, err := oslomsg.Decode([]byte(body)); !errors.Is(err, oslomsg.ErrMessage) {
			t.Errorf("%s: got %v, want %v", name, err, oslomsg.ErrMessage)
		}
	}
}

// What is published can be read again, and has the form that services read.
func TestEncode(t *testing.T) {
	was := oslomsg.Notification{Publisher: "clonecache.host", Event: "clonecache.filled", Priority: oslomsg.Info, Payload: json.RawMessage(`{"a":"b"}`), At: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)}
	p, err := was.Publishing()
	if err != nil {
		t.Fatal(err)
	}
	if p.ContentType != "application/json" || p.ContentEncoding != "utf-8" || p.DeliveryMode != amqp.Persistent {
		t.Errorf("properties: got %+v", p)
	}
	var outer map[string]string
	if err := json.Unmarshal(p.Body, &outer); err != nil || outer["oslo.version"] != "2.0" || !strings.Contains(outer["oslo.message"], `"timestamp":"2026-01-02 03:04:05.000006"`) {
		t.Errorf("got %s, %v", p.Body, err)
	}
	n, err := oslomsg.Decode(p.Body)
	if err != nil || n.ID == "" {
		t.Fatalf("got %+v, %v", n, err)
	}
	if was.ID = n.ID; n.Event != was.Event || n.Publisher != was.Publisher || string(n.Payload) != string(was.Payload) || !n.At.Equal(was.At) {
		t.Errorf("got %+v, want %+v", n, was)
	}
	if key := oslomsg.RoutingKey("notifications", oslomsg.Info); key != "notifications.info" {
		t.Errorf("routing key: got %s", key)
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"amqp://cc@mq":                      "amqp://cc@mq:5672/%2F",
		"amqps://cc@mq/cloud":               "amqps://cc@mq:5671/cloud",
		"rabbit://cc@a:1,cc@b:2/":           "amqp://cc@a:1,b:2/%2F",
		"amqp://cc@a,b/%2Fx":                "amqp://cc@a:5672,b:5672/%2Fx",
		"amqp://cc@[::1]:5672/x":            "amqp://cc@[::1]:5672/x",
		"":                                  "",
		"http://cc@mq":                      "",
		"amqp://mq":                         "",
		"amqp://cc:hunter2@mq":              "",
		"amqp://cc@":                        "",
		"amqp://cc@a,dd@b":                  "",
		"amqp://cc@mq/%zz":                  "",
		"amqp://cc@mq:99999999999999999x/a": "",
	} {
		a, err := oslomsg.ParseAddress(text)
		if want == "" {
			if !errors.Is(err, oslomsg.ErrAddress) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: got %v, %v, want %v", text, a, err, oslomsg.ErrAddress)
			}
			continue
		}
		if err != nil || a.String() != want {
			t.Errorf("%q: got %v, %v, want %s", text, a, err, want)
		}
	}
}

// A server that hangs up is tried again and again, and the end of ctx ends that at once.
func TestKeepTriesAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tried := make(chan struct{}, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
			tried <- struct{}{}
		}
	}()
	defer l.Close()
	address, err := oslomsg.ParseAddress("amqp://cc@" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	link := oslomsg.Link{Address: address, Password: func() (string, error) { return "secret", nil }, Log: log}
	ended := make(chan error, 1)
	go func() {
		ended <- link.Keep(ctx, func(context.Context, *amqp.Connection) error { return errors.New("never connected") })
	}()
	for range 3 {
		select {
		case <-tried:
		case <-ctx.Done():
			t.Fatal("not tried again")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A server that takes the connection and says nothing holds nobody when ctx ends.
func TestKeepOfASilentServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			cancel()
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	address, err := oslomsg.ParseAddress("amqp://cc@" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	link := oslomsg.Link{Address: address, Password: func() (string, error) { return "secret", nil }, Log: log}
	if err := link.Keep(ctx, func(context.Context, *amqp.Connection) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// frame is one of AMQP 0-9-1 with a method, on channel 0.
func frame(class, method byte, arguments ...byte) []byte {
	payload := append([]byte{0, class, 0, method}, arguments...)
	return append(append([]byte{1, 0, 0, 0, 0, 0, byte(len(payload))}, payload...), 0xce)
}

// greet opens a connection as RabbitMQ does, and answers nothing after that.
func greet(c net.Conn) {
	start := frame(10, 10, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 'P', 'L', 'A', 'I', 'N', 0, 0, 0, 5, 'e', 'n', '_', 'U', 'S')
	tune := frame(10, 30, 0, 0, 0, 0, 0, 0, 0, 0)
	open := frame(10, 41, 0)
	for _, f := range [][]byte{start, tune, open} {
		_, _ = c.Write(f)
	}
	_, _ = io.Copy(io.Discard, c)
}

// A server that opens the connection and says nothing more holds nobody when ctx ends, whatever use waits for.
func TestKeepOfAServerThatFallsSilent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			greet(c)
		}
	}()
	address, err := oslomsg.ParseAddress("amqp://cc@" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	link := oslomsg.Link{Address: address, Password: func() (string, error) { return "secret", nil }, Log: log}
	ended := make(chan error, 1)
	go func() {
		ended <- link.Keep(ctx, func(_ context.Context, conn *amqp.Connection) error {
			cancel()
			_, err := conn.Channel() // has no context
			return err
		})
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it still waits for the server")
	}
}
