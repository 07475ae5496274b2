//go:build openstack

package openstack

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// Without a daemon, whether its socket is missing or dead, Cinder makes the volumes itself.
func TestWithoutADaemonCinderGoesOn(t *testing.T) {
	w := newWorld(t)
	d := newDisk(t, 8, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", nil)
	absent := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	w.daemon.Start(t)
	defer w.end(t)
	w.daemon.Kill()
	dead := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	w.daemon.Start(t)
	back := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	sameContent(t, d, absent, dead, back)
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 1})
}

// A daemon that is killed in a fill leaves the volume to Cinder, and what it had begun is gone or used after
// its next start: as soon as Cinder has made the image-volume, when it is adopted, and when it is whole.
func TestADaemonKilledInAFill(t *testing.T) {
	for seed, step := range []failpoint.Step{failpoint.Claim, failpoint.Stage, failpoint.Commit} {
		t.Run(string(step), func(t *testing.T) {
			w := newWorld(t)
			w.daemon.KillAfter = string(step)
			w.daemon.Start(t)
			defer w.end(t)
			d := newDisk(t, uint64(100+seed), 64*mib, 48*mib)
			image := w.upload(t, d.path, "raw", nil)
			first := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
			within(t, "the daemon has died in the fill", func() bool {
				select {
				case <-w.daemon.Ended():
					return w.daemon.Killed()
				default:
					return false
				}
			})
			w.daemon.KillAfter = ""
			w.daemon.Start(t)
			second := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
			sameContent(t, d, first, second)
			harness.Until(t, "nothing but the one image-volume is left", func() bool { return w.quota(t) == used{1, 1} })
		})
	}
}

// downloading waits until the only fill has read something of its image.
func (w *world) downloading(t *testing.T) {
	t.Helper()
	client := w.daemon.Client(t)
	harness.Until(t, "the download has begun", func() bool {
		fills, err := client.Fills(t.Context())
		return err == nil && len(fills) == 1 && fills[0].ReadBytes > 0
	})
}

// Glance that dies in a download takes the volume with it, as without the cache: nothing is left of the fill,
// and the next volume is made.
func TestGlanceKilledInADownload(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 10, 768*mib, 768*mib)
	image := w.upload(t, d.path, "raw", nil)
	id := w.demo.create(t, wanted{Image: image, Type: "rbd1"})
	w.downloading(t)
	lab.signal(t, "glance", syscall.SIGKILL)
	v := w.demo.settled(t, id)
	lab.do(t, "start", "glance")
	if v.Status != "error" && v.Status != "available" {
		t.Errorf("the volume: got status %s, want Cinder's error, or available", v.Status)
	}
	next := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	sameContent(t, d, next)
	harness.Until(t, "nothing but the one image-volume is left", func() bool { return w.quota(t) == used{1, 1} })
}

// Cinder-volume that is killed while a volume waits for its image leaves nothing in the cache that the next
// volume could not use.
func TestCinderVolumeKilledWhileItWaits(t *testing.T) {
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 11, 768*mib, 768*mib)
	image := w.upload(t, d.path, "raw", nil)
	id := w.demo.create(t, wanted{Image: image, Type: "rbd1"})
	w.downloading(t)
	lab.signal(t, "cinder-volume", syscall.SIGKILL)
	lab.do(t, "start", "cinder-volume")
	if v := w.demo.settled(t, id); v.Status != "error" {
		t.Errorf("the volume that was being made: got status %s, want error, as Cinder leaves it", v.Status)
	}
	next := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	sameContent(t, d, next)
	harness.Until(t, "nothing but the one image-volume is left", func() bool { return w.quota(t) == used{1, 1} })
}

// The daemon's own tokens expire and are renewed; those of the users were given before.
func TestTokensExpire(t *testing.T) {
	w := newWorld(t)
	defer lab.set(t, "TOKEN_SECONDS=3600", "keystone")
	lab.set(t, "TOKEN_SECONDS=8", "keystone")
	w.daemon.Start(t)
	defer w.end(t)
	one, two := newDisk(t, 12, 8*mib, 8*mib), newDisk(t, 13, 8*mib, 8*mib)
	early := w.demo.make(t, wanted{Image: w.upload(t, one.path, "raw", nil), Type: "rbd1"})
	old := login(t, "cinder-internal")
	within(t, "tokens of the beginning are over", func() bool {
		status, _, _ := old.try(t, call{"GET", lab.url(0, "/v3/auth/projects"), nil}, nil)
		return status == http.StatusUnauthorized
	})
	late := w.demo.make(t, wanted{Image: w.upload(t, two.path, "raw", nil), Type: "rbd1"})
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 2})
	sameContent(t, one, early)
	sameContent(t, two, late)
}

// Twenty-four first volumes at once, of three images, in eight slots of cinder-volume: those that wait leave
// slots for the image-volumes that they wait for.
func TestWaitingHooksDoNotStarveWhatTheyWaitFor(t *testing.T) {
	lab.do(t, append([]string{"hook", lab.socket()}, append(hookKeys, "DEFAULT/executor_thread_pool_size=8")...)...)
	defer lab.do(t, append([]string{"hook", lab.socket()}, hookKeys...)...)
	w := begin(t)
	defer w.end(t)
	const n = 24
	disks, ids := make([]disk, 3), make([]string, 0, n)
	for i := range disks {
		disks[i] = newDisk(t, uint64(20+i), 16*mib, 8*mib)
		image := w.upload(t, disks[i].path, "raw", nil)
		for range n / len(disks) {
			ids = append(ids, w.demo.create(t, wanted{Image: image, Type: "rbd1"}))
		}
	}
	made := w.demo.allAvailable(t, ids)
	for i, d := range disks {
		sameContent(t, d, made[i*n/len(disks):(i+1)*n/len(disks)]...)
	}
}

// A cluster that hangs for longer than the hook waits: Cinder takes the volume over, and the late daemon neither
// clones into it nor removes it.
func TestALateDaemonLeavesTheVolumeToCinder(t *testing.T) {
	lab.do(t, "hook", lab.socket(), "clonecache_timeout=6", "clonecache_connect_timeout=5")
	defer lab.do(t, append([]string{"hook", lab.socket()}, hookKeys...)...)
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 31, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", nil)
	filled := w.demo.make(t, wanted{Image: image, Type: "rbd1"})

	log := lab.logged(t, "cinder-volume")
	resume := sync.OnceFunc(func() { lab.do(t, "cluster", "osd-resume") })
	lab.do(t, "cluster", "osd-pause")
	defer resume()
	id := w.demo.create(t, wanted{Image: image, Type: "rbd1"})
	within(t, "the hook gives up", func() bool { return strings.Contains(log(), "volume-"+id+" on rbd1, which goes Cinder's way") })
	resume()
	v := w.demo.available(t, id)
	if c := w.daemon.Check(t, "--repair"); !c.OK {
		t.Errorf("check found problems: %+v", c.Problems)
	}
	sameContent(t, d, filled, v)
}
