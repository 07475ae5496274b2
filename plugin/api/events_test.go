package api_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestEventsAreSelected(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{Now: func() time.Time { return now }})
	for _, c := range []struct {
		name string
		ask  api.EventsRequest
		want plugin.EventFilter
	}{
		{"all", api.EventsRequest{}, plugin.EventFilter{}},
		{"after an ID", api.EventsRequest{Since: "1", Limit: 5}, plugin.EventFilter{After: 1, Limit: 5}},
		{"since a span", api.EventsRequest{Since: "1h"}, plugin.EventFilter{Since: now.Add(-time.Hour)}},
		{"since a time", api.EventsRequest{Since: "2026-02-01T00:00:00Z"}, plugin.EventFilter{Since: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}},
		{"of a backend, of kinds", api.EventsRequest{Backend: "local", Kinds: []plugin.EventKind{plugin.EventHit, plugin.EventEvicted}},
			plugin.EventFilter{Backend: "local", Kinds: []plugin.EventKind{plugin.EventHit, plugin.EventEvicted}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := d.client.Events(t.Context(), c.ask)
			if err != nil || len(got) != 1 || got[0].Reason != "size" {
				t.Fatalf("got %+v, %v", got, err)
			}
			if !reflect.DeepEqual(fake.events, c.want) {
				t.Errorf("asked for %+v, want %+v", fake.events, c.want)
			}
		})
	}
	if status, body := d.raw(t, "GET", "/v1/events?since=2", ""); status != 200 || strings.TrimSpace(body) != "[]" {
		t.Errorf("no events: got %d, %s, want 200 and []", status, body)
	}
	if _, body := d.raw(t, "GET", "/v1/events?since=1", ""); strings.Contains(body, "volume") || strings.Contains(body, "took_ms") {
		t.Errorf("fields that say nothing are there: %s", body)
	}
	for _, query := range []string{"since=never", "since=-1", "kind=explosion", "limit=-1", "other=1"} {
		if status, body := d.raw(t, "GET", "/v1/events?"+query, ""); status != 400 || !strings.Contains(body, "bad_request") {
			t.Errorf("%s: got %d, %s, want 400", query, status, body)
		}
	}
	if status, _ := d.raw(t, "GET", "/v1/events?follow=true&kind=explosion", ""); status != 400 {
		t.Errorf("a wrong request to follow: got %d, want 400", status)
	}
}

func TestEventsAreFollowed(t *testing.T) {
	fake, seen := newFake(), make(chan int64)
	fake.follow = func(ctx context.Context, f plugin.EventFilter, take func(plugin.Event) error) error {
		if f.After != 4 || f.Backend != "local" {
			t.Errorf("asked for %+v", f)
		}
		for id := int64(5); id < 8; id++ {
			if err := take(plugin.Event{ID: id, Kind: plugin.EventHit}); err != nil {
				return err
			}
			if got := <-seen; got != id { // it has arrived before the next one happens
				t.Errorf("got event %d, want %d", got, id)
			}
		}
		return plugin.ErrStopping
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	err := d.client.FollowEvents(t.Context(), api.EventsRequest{Since: "4", Backend: backends.Name("local")}, func(e plugin.Event) error {
		seen <- e.ID
		return nil
	})
	if e := apiError(t, err); e.Code != "stopping" || !e.Retryable {
		t.Errorf("at the end: got %+v, want stopping", e)
	}
}

func TestAFollowerThatGoesAwayEndsItsStream(t *testing.T) {
	fake, gone := newFake(), make(chan error, 1)
	fake.follow = func(ctx context.Context, _ plugin.EventFilter, take func(plugin.Event) error) error {
		err := take(plugin.Event{ID: 1, Kind: plugin.EventHit})
		if err == nil {
			<-ctx.Done()
			err = ctx.Err()
		}
		gone <- err
		return err
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	enough := errors.New("enough")
	if err := d.client.FollowEvents(t.Context(), api.EventsRequest{}, func(plugin.Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v, want %v", err, enough)
	}
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the server's side ended with %v, want %v", err, context.Canceled)
	}
}

// The words in the API's description are those of the table.
func TestTheDescriptionKnowsEveryKind(t *testing.T) {
	field, _ := reflect.TypeFor[plugin.Event]().FieldByName("Kind")
	var kinds []string
	for _, k := range plugin.EventKinds() {
		kinds = append(kinds, string(k.Kind))
	}
	if got, want := field.Tag.Get("enum"), strings.Join(kinds, ","); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
