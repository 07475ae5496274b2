package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestPrefetchPassesTheWholeRequest(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	views, err := d.client.Prefetch(t.Context(), api.PrefetchRequest{Images: []string{"lib:a", "lib:b"}, Backends: []backends.Name{"x", "y"}, Pin: true, Priority: -3})
	if err != nil || len(views) != 1 || views[0].ID != "q1" || views[0].TotalBytes != -1 || views[0].NextTryAt != nil {
		t.Fatalf("got %+v, %v", views, err)
	}
	want := plugin.Prefetch{Images: []string{"lib:a", "lib:b"}, Backends: []backends.Name{"x", "y"}, Pin: true, Priority: -3}
	if !reflect.DeepEqual(fake.prefetched, want) {
		t.Errorf("the service was asked %+v, want %+v", fake.prefetched, want)
	}
	for name, r := range map[string]api.PrefetchRequest{"no image": {Images: []string{}}, "priority": {Images: []string{"lib:a"}, Priority: 1001}} {
		var refused *api.Error
		if _, err := d.client.Prefetch(t.Context(), r); !errors.As(err, &refused) || refused.Code != "bad_request" {
			t.Errorf("%s: got %v, want bad_request", name, err)
		}
	}
}

// As many images as one request may name fit into it; other requests stay small.
func TestAPrefetchOfTenThousandImages(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	images := make([]string, 10_000)
	for i := range images {
		images[i] = fmt.Sprintf("lib:%064d.qcow2", i)
	}
	if _, err := d.client.Prefetch(t.Context(), api.PrefetchRequest{Images: images}); err != nil || len(fake.prefetched.Images) != len(images) {
		t.Errorf("got %d images, %v", len(fake.prefetched.Images), err)
	}
	var refused *api.Error
	if _, err := d.client.Prefetch(t.Context(), api.PrefetchRequest{Images: []string{strings.Repeat("a", 9<<20)}}); !errors.As(err, &refused) || refused.Code != "body_too_large" {
		t.Errorf("too large: got %v, want body_too_large", err)
	}
	for _, value := range []string{"1", `""`, "[]", "1e999"} { // each would be told of by itself
		body := `{"images":[` + strings.Repeat(value+",", 1_000_000) + value + "]}"
		if status, answer := d.raw(t, http.MethodPost, "/v1/prefetch", body); status != http.StatusRequestEntityTooLarge || !strings.Contains(answer, "20000 values") {
			t.Errorf("a million of %s: got %d %.200s", value, status, answer)
		}
	}
}

func TestTheQueueOverHTTP(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	if all, err := d.client.Queue(t.Context()); err != nil || all == nil || len(all) != 0 {
		t.Errorf("list: %+v, %v, want an empty list", all, err)
	}
	if n, err := d.client.ClearQueue(t.Context()); err != nil || n.Images != 3 {
		t.Errorf("clear: %+v, %v", n, err)
	}
	if n, err := d.client.RetryQueue(t.Context()); err != nil || n.Images != 2 {
		t.Errorf("retry all: %+v, %v", n, err)
	}
	if v, err := d.client.RetryQueued(t.Context(), "q/1 ä"); err != nil || v.ID != "q/1 ä" {
		t.Errorf("retry one: %+v, %v", v, err)
	}
	var refused *api.Error
	if _, err := d.client.DeleteQueued(t.Context(), "q9"); !errors.As(err, &refused) || refused.Code != "not_queued" || refused.Status != 404 {
		t.Errorf("delete: got %v, want not_queued", err)
	}
}

func TestFollowedImagesOverTheAPI(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	if all, err := d.client.Follows(t.Context()); err != nil || all == nil || len(all) != 0 {
		t.Errorf("rules: %+v, %v, want an empty list", all, err)
	}
	if all, err := d.client.Sweep(t.Context()); err != nil || len(all) != 1 || all[0].Pattern != "*.raw" {
		t.Errorf("sweep: %+v, %v", all, err)
	}
}
