package oslomsg_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin/oslomsg"
	"github.com/clonecache/clonecache/plugin/oslomsg/oslomsgtest"
)

// A listener waits for an exchange that is not there yet, hears what is sent, skips what is no notification, and
// listens again after its connection was cut.
func TestALinkListens(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := oslomsgtest.Start(t)
	b.Lack(true)
	address, err := oslomsg.ParseAddress("amqp://cc@" + b.Address)
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	link := oslomsg.Link{Address: address, Password: func() (string, error) { return "secret", nil }, Log: log}
	begun, got := make(chan struct{}, 8), make(chan oslomsg.Notification, 8)
	ended := make(chan error, 1)
	go func() {
		ended <- link.Listen(ctx, oslomsg.Subscription{Exchange: "glance", Topic: "notifications", Priority: oslomsg.Info, Queue: "q"},
			func() { begun <- struct{}{} }, func(n oslomsg.Notification) { got <- n })
	}()
	await := func(c <-chan struct{}, what string) {
		t.Helper()
		select {
		case <-c:
		case <-ctx.Done():
			t.Fatalf("%s: it never came", what)
		}
	}
	for b.Asked("exchange") == "" && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	b.Lack(false)
	for _, when := range []string{"at first", "after a cut"} {
		await(b.Listening(), when)
		await(begun, when)
		if b.Asked("exchange") != "glance" || b.Asked("queue") != "q" || b.Asked("key") != "notifications.info" {
			t.Errorf("%s: bound %s to %s by %s", when, b.Asked("queue"), b.Asked("exchange"), b.Asked("key"))
		}
		b.Send([]byte("rubbish"))
		body, err := oslomsg.Notification{Event: "image.activate", Priority: oslomsg.Info, At: time.Now(), Payload: []byte(`{}`)}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		b.Send(body)
		select {
		case n := <-got:
			if n.Event != "image.activate" {
				t.Errorf("%s: heard %+v", when, n)
			}
		case <-ctx.Done():
			t.Fatalf("%s: nothing heard", when)
		}
		b.Cut()
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What a listener has not taken yet stays in RabbitMQ, whose queue is bounded: it is not heaped up in memory here.
func TestAListenerHeapsNothingUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := oslomsgtest.Start(t)
	address, err := oslomsg.ParseAddress("amqp://cc@" + b.Address)
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	link := oslomsg.Link{Address: address, Password: func() (string, error) { return "secret", nil }, Log: log}
	const many = 200
	goOn, taken, ended := make(chan struct{}), make(chan struct{}, many), make(chan error, 1)
	go func() {
		ended <- link.Listen(ctx, oslomsg.Subscription{Exchange: "glance", Topic: "notifications", Priority: oslomsg.Info, Queue: "q"},
			nil, func(oslomsg.Notification) { <-goOn; taken <- struct{}{} })
	}()
	select {
	case <-b.Listening():
	case <-ctx.Done():
		t.Fatal("nobody listens")
	}
	body, err := oslomsg.Notification{Event: "image.activate", Priority: oslomsg.Info, At: time.Now(), Payload: []byte(`{}`)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range many {
		if n%2 == 0 {
			b.Send([]byte("rubbish"))
		} else {
			b.Send(body)
		}
	}
	if n := b.Untaken(); n == 0 || n > 20 {
		t.Errorf("%d of %d messages were handed over to who takes none; want a few", n, many)
	}
	close(goOn)
	for range many / 2 {
		select {
		case <-taken:
		case <-ctx.Done():
			t.Fatal("not all was heard")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
