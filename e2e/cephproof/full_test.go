//go:build ceph

package cephproof

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// testFullPool: where the pool of the image-volumes is full, images are served by the file cache or not at
// all, with the reason; a fill that is running ends; nothing is left. When there is room again, they are
// cached.
func testFullPool(t *testing.T, on *harness.Cluster) {
	for _, c := range []struct {
		name     string
		fallback harness.Fallback
		want     plugin.Outcome
	}{{"with a file cache", harness.ToFileCache, plugin.Copied}, {"without", harness.NoFallback, plugin.Bypassed}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, on, callTimeout)
			r.Stop(t)
			r.Daemon.Config.Fallback = c.fallback
			r.Reconfigure(t)
			r.Start(t)
			room := r.fill(t, on)
			defer room()
			a := r.ask(t, "ceph", fresh, "full")
			if a.Outcome != c.want || a.Reason != plugin.ReasonBackendFull {
				t.Errorf("with a full pool: got %s, %s (%s), want %s, backend_full", a.Outcome, a.Reason, a.Detail, c.want)
			}
			room()
			r.roomy(t)
		})
	}
	t.Run("in a fill", func(t *testing.T) {
		r := newRig(t, on, callTimeout)
		reached, release := r.web.HoldAt(t, fresh, imageSize/2)
		var filling sync.WaitGroup
		filling.Go(func() {
			a := r.ask(t, "ceph", fresh, "filling")
			if a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonUnavailable && a.Reason != plugin.ReasonBackendFull {
				t.Errorf("a fill while the pool got full: got %s, %s (%s), want it bypassed", a.Outcome, a.Reason, a.Detail)
			}
			t.Logf("a fill while the pool got full: %s, %s", a.Outcome, a.Reason)
		})
		<-reached
		room := r.fill(t, on)
		defer room()
		release()
		filling.Wait()
		a := r.ask(t, "ceph", cached, "hit")
		t.Logf("a hit while the pool is full: %s, %s", a.Outcome, a.Reason)
		room()
		r.roomy(t)
	})
}

// fill makes the pool of the image-volumes as good as full, until room is called.
func (r *rig) fill(t *testing.T, on *harness.Cluster) (room func()) {
	t.Helper()
	quota := func(bytes string) { on.Do(t, "ceph", "osd", "pool", "set-quota", r.images.name, "max_bytes", bytes) }
	quota("4096")
	r.until(t, full)
	return sync.OnceFunc(func() {
		quota("0")
		r.until(t, roomy)
	})
}

// roomy checks that nothing is left of what came to nothing, and that the image is cached now.
func (r *rig) roomy(t *testing.T) {
	t.Helper()
	r.settled(t, r.Daemon)
	r.filled(t, "ceph", fresh, "roomy")
	r.settled(t, r.Daemon)
	r.allThere(t)
}

// fullness is what the mon knows of a pool.
type fullness int

const (
	roomy fullness = iota + 1
	full
)

// until waits until the mon has noticed how full the pool of the image-volumes is, and the OSDs know of it.
func (r *rig) until(t *testing.T, want fullness) {
	t.Helper()
	harness.Until(t, "the mon notices how full the pool is", func() bool {
		return poolFullness(t, r.conn, r.images.name) == want
	})
	r.everywhere(t)
}

// groupsAsked is how many objects are asked for so that one lies in each of the pool's 32 placement groups: one may be
// missed in a million times.
const groupsAsked = 512

// everywhere waits until each placement group of the image-volumes' pool has the mon's newest map: what comes from a client that has
// it waits for that.
func (r *rig) everywhere(t *testing.T) {
	t.Helper()
	if err := r.conn.WaitForLatestOSDMap(); err != nil {
		t.Fatal(err)
	}
	for n := range groupsAsked {
		if _, err := r.images.Stat(fmt.Sprintf("none-%d", n)); !errors.Is(err, rados.ErrNotFound) {
			t.Fatalf("an object that is not there: %v", err)
		}
	}
}

// poolFullness tells whether the OSD map says that a pool has reached its quota.
func poolFullness(t *testing.T, conn *rados.Conn, name string) fullness {
	t.Helper()
	text, _, err := conn.MonCommand([]byte(`{"prefix": "osd dump", "format": "json"}`))
	if err != nil {
		t.Fatal(err)
	}
	var dump struct {
		Pools []struct {
			Name  string `json:"pool_name"`
			Flags string `json:"flags_names"`
		} `json:"pools"`
	}
	if err := json.Unmarshal(text, &dump); err != nil {
		t.Fatal(err)
	}
	for _, p := range dump.Pools {
		switch {
		case p.Name != name:
		case strings.Contains(p.Flags, "full_quota"):
			return full
		default:
			return roomy
		}
	}
	t.Fatalf("there is no pool %s", name)
	return 0
}
