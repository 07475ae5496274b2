//go:build ceph

package cephproof

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// callTimeout is how long the daemons of these tests wait for one answer of the cluster, but for those whose
// requests have a deadline before that.
const (
	callTimeout     = 3 * time.Second
	longCallTimeout = 40 * time.Second
)

// soon is the longest that a request may take that the cluster does not answer: a call that times out, or
// for a fill a few, one after the other, and what a busy machine adds.
const soon = 4*callTimeout + 30*time.Second

// TestABrokenCluster breaks a cluster with BlueStore and Ceph's own timing, one way after the other.
func TestABrokenCluster(t *testing.T) {
	t.Parallel()
	blue := startBlue(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *harness.Cluster)
	}{
		{"outages", testOutages},
		{"a deadline while the OSD is stopped", testDeadline},
		{"a full pool", testFullPool},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, blue) })
	}
}

// startBlue starts a cluster that keeps its objects over a stop, until the test ends.
func startBlue(t *testing.T) *harness.Cluster {
	t.Helper()
	blue := &harness.Cluster{
		Dir: fmt.Sprintf("/tmp/cc-blue-%d", os.Getpid()), Port: cluster.Port + ports/2, Settings: []string{"FAST="},
	}
	t.Cleanup(func() { blue.Do(t, "wipe") })
	blue.Do(t, "up")
	return blue
}

// rig is a daemon with a backend in a cluster beside one on a local filesystem with clones, and an image
// that both have cached.
type rig struct {
	*site
	*harness.Daemon
	client *api.Client
	web    *harness.WebSource

	mu   sync.Mutex
	made map[backends.Name][]string // volumes that were answered, by backend
}

const (
	cached = "cached.raw"
	fresh  = "fresh.raw" // not cached, and downloaded up to its middle when things break
)

func newRig(t *testing.T, on *harness.Cluster, timeout time.Duration) *rig {
	t.Helper()
	web := harness.ServeWeb(t)
	for n, name := range []string{cached, fresh} {
		harness.SmallDisk(t, filepath.Join(web.Dir, name), uint64(n+7), imageSize, imageSize)
	}
	s := newSite(t, on, harness.Config{
		Web: map[string]string{"web": web.URL}, Fallback: harness.NoFallback,
		Volumes: filepath.Join(fstest.Mount(t, fstest.XFS, gib/2), "volumes"),
		Ceph:    &harness.Ceph{BesideLocal: true, CallTimeout: timeout.String(), ConnectTimeout: callTimeout.String()},
	})
	d := harness.Start(t, s.Config)
	r := &rig{site: s, Daemon: d, client: d.Client(t), web: web, made: map[backends.Name][]string{}}
	for _, backend := range []backends.Name{"ceph", "local"} {
		r.filled(t, backend, cached, "first")
	}
	return r
}

// filled asks for the first volume of an image where nothing is broken, and once more as long as a busy machine takes longer for
// an answer of the cluster than is waited for.
func (r *rig) filled(t *testing.T, backend backends.Name, image, name string) {
	t.Helper()
	tries := 0
	harness.Until(t, fmt.Sprintf("%s is cached on %s", image, backend), func() bool {
		tries++
		a := r.ask(t, backend, image, fmt.Sprintf("%s-%d", name, tries))
		if a.Outcome != plugin.Filled && (a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonUnavailable) {
			t.Fatalf("volume %s-%d on %s: %s, %s: %s", name, tries, backend, a.Outcome, a.Reason, a.Detail)
		}
		return a.Outcome == plugin.Filled
	})
}

// ask asks for a volume; an error fails the test.
func (r *rig) ask(t *testing.T, backend backends.Name, image, name string) plugin.Answer {
	t.Helper()
	a, err := r.client.CreateVolume(t.Context(), api.CreateRequest{
		Backend: backend, Image: "web:" + image, Volume: backends.VolumeName(name), SizeBytes: volumeSize,
	}, nil)
	if err != nil {
		t.Errorf("ask %s for %s: %v", backend, name, err)
		return a
	}
	if a.Outcome != plugin.Bypassed {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.made[backend] = append(r.made[backend], name)
	}
	return a
}

// allThere checks that the pool has the volumes that were answered, with all their bytes, and no others.
func (r *rig) allThere(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	want := map[string]bool{}
	for _, name := range r.made["ceph"] {
		want[name] = true
	}
	for _, name := range r.names(t) {
		if !want[name] {
			t.Errorf("volume %s is there, and was not answered", name)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("volume %s was answered, and is not there", name)
	}
	for _, v := range r.Volumes(t) {
		if v.Backend == "ceph" {
			disk := filepath.Join(r.web.Dir, v.ImageID[len("web:"):])
			r.wholeVolume(t, harness.Volume{Name: string(v.Volume), Size: volumeSize}, disk)
		}
	}
}
