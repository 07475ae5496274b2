package plugin_test

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// Nobody took a host's answer, and its backend could not remove the volume at once. Whoever asked then asked another host, and
// was told of it: it stays, and the first host tells people of it.
func TestAVolumeStaysThatAnotherHostHasAnsweredFor(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	content := c.hosts[0].image(t, "disk.raw", mib)
	c.hosts[0].create(t, "library:disk.raw", "v0", 0)
	r, faulty := c.faulty(t, "host-1")
	faulty.FailBefore(backendtest.MethodDeleteVolume, 1, backends.ErrUnavailable)
	first, err := r.CreateVolume(t.Context(), plugin.Request{
		Image: "library:disk.raw", Volume: "v1", Deadline: time.Now().Add(time.Hour),
		Deliver: func(plugin.Answer) error { return errGone },
	})
	if err != nil || first.Reason != plugin.ReasonUndelivered {
		t.Fatalf("got %+v, %v, want it undelivered", first, err)
	}
	again := c.hosts[0].create(t, "library:disk.raw", "v1", 0)
	r.Tidy(t.Context())
	c.hosts[0].holds(t, again, content)
	r.wantProblem(t, plugin.CheckOptions{}, "kept-volume", "v1")
}
