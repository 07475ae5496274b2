package plugin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// silentRig has an image source that takes connections and says nothing, and gives up after 20 s.
func silentRig(t *testing.T, options ...option) *rig {
	t.Helper()
	end := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case <-end:
		case <-q.Context().Done():
		}
	}))
	t.Cleanup(web.Close)
	t.Cleanup(func() { close(end) })
	source, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: web.URL, Stall: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	options = append(options, withSource(source), withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})))
	return newRig(t, t.TempDir(), lru.Bounds{}, options...)
}

// The image's source accepts the connection and says nothing: the caller goes its usual way in time, whether
// the deadline is its own or the backend's, and however it names the image.
func TestTheDeadlineIsKeptWhileTheSourceIsAsked(t *testing.T) {
	for _, c := range []struct {
		name, image string
		own, most   time.Duration
	}{
		{"its own", "web:disk.raw", 300 * time.Millisecond, 0},
		{"the backend's", "web:disk.raw", 0, 300 * time.Millisecond},
		{"of an image that every source is asked for", "disk.raw", 300 * time.Millisecond, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := silentRig(t, func(p *plugin.Config) { p.Backends[0].RequestTimeout = c.most })
			ask := plugin.Request{Image: c.image, Volume: "v"}
			begun := time.Now()
			if c.own > 0 {
				ask.Deadline = begun.Add(c.own)
			}
			a, err := r.CreateVolume(t.Context(), ask)
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("answered after %v", took)
			}
			if err != nil || a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonDeadline || a.ImageID != c.image {
				t.Errorf("got %+v, %v, want bypassed for the deadline", a, err)
			}
		})
	}
}

func TestRequestsThatSteerAreRefused(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})))
	r.image(t, "disk.raw", mib)
	good := plugin.Request{Image: "library:disk.raw", Volume: "v"}
	for name, change := range map[string]func(*plugin.Request){
		"a line end in the volume":     func(q *plugin.Request) { q.Volume = "v\n1  2026-11-28  hit" },
		"an escape in the image":       func(q *plugin.Request) { q.Image = "library:\x1b[2Jdisk.raw" },
		"no UTF-8 in the backend":      func(q *plugin.Request) { q.Backend = "\xff" },
		"a line end in the project":    func(q *plugin.Request) { q.ProjectID = "p\n" },
		"a line separator in the type": func(q *plugin.Request) { q.VolumeType = "gold\u2028" },
		"writing that turns around":    func(q *plugin.Request) { q.DiskFormat = "raw\u202e" },
	} {
		t.Run(name, func(t *testing.T) {
			ask := good
			change(&ask)
			if _, err := r.CreateVolume(t.Context(), ask); !errors.Is(err, plugin.ErrBadRequest) && !errors.Is(err, plugin.ErrUnknownBackend) {
				t.Errorf("got %v, want it refused", err)
			}
			events, err := r.Events(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventBypassed, plugin.EventHit, plugin.EventMiss}})
			if err != nil || len(events) != 0 {
				t.Errorf("events: got %+v, %v, want none", events, err)
			}
		})
	}
}

// labels hears under which backends errors are counted.
type labels struct {
	plugin.Observer
	errors map[string]int
}

func (l *labels) RequestError(backend backends.Name, _ error) { l.errors[string(backend)]++ }

func TestBackendsThatCallersInventAreOneLabel(t *testing.T) {
	heard := &labels{errors: map[string]int{}}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})), func(c *plugin.Config) { c.Observer = heard })
	for _, name := range []backends.Name{"a", "b", "\xff", "local", ""} {
		if _, err := r.CreateVolume(t.Context(), plugin.Request{Backend: name, Image: "library:none", Volume: "v"}); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
	if len(heard.errors) != 2 || heard.errors["unknown"] != 3 || heard.errors["local"] != 2 {
		t.Errorf("got %v, want 3 unknown and 2 local", heard.errors)
	}
}
