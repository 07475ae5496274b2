//go:build openstack

package openstack

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// controller is a daemon of the cluster, beside a cinder-volume of it.
type controller struct {
	*harness.Daemon
	service, socket string
}

// beginControllers starts two cinder-volumes of one cluster, on the pool of rbd1, with a daemon each. The daemons share a
// catalog on MariaDB.
func beginControllers(t *testing.T) (w *world, both []controller) {
	t.Helper()
	db := &harness.Database{Dir: fmt.Sprintf("/tmp/cc-lab-db-%d", os.Getpid()), Port: harness.FreePort(t)}
	db.Up(t)
	text := db.New(t).Text() + services() + fmt.Sprintf("[[backend]]\nname = \"rbd1\"\nkind = \"rbd\"\npool = %q\nvolume_type = \"rbd1\"\nconf = %q\nkeyring = %q\n",
		pools["rbd1"], lab.cephConf(), filepath.Join(lab.dir, "ceph", "client.clonecache.keyring"))
	words := []string{"controllers"}
	for _, name := range []string{"a", "b"} {
		c := controller{harness.New(t, harness.Config{Tables: text}), "cinder-volume-" + name, filepath.Join(lab.dir, "hook-"+name+".sock")}
		_ = os.Remove(c.socket)
		if err := os.Symlink(strings.TrimPrefix(c.Server, "unix://"), c.socket); err != nil {
			t.Fatal(err)
		}
		both, words = append(both, c), append(words, c.socket)
	}
	both[0].Migrate(t)
	for _, c := range both {
		c.Start(t)
	}
	w = &world{daemon: both[0].Daemon, demo: login(t, "demo"), other: login(t, "other"), admin: login(t, "admin"), internal: login(t, "cinder-internal")}
	w.deleteVolumes(t)
	lab.do(t, words...)
	t.Cleanup(func() { lab.do(t, "controllers", "off") })
	return w, both
}

// ended asks for n volumes at once, and waits until each has come to an end, well or not. While they are made, meanwhile is called.
func (w *world) ended(t *testing.T, n int, of wanted, meanwhile func()) (available, failed []volume) {
	t.Helper()
	ids := make([]string, n)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			var answer struct{ Volume volume }
			if status, refusal, _ := w.demo.try(t, call{"POST", w.demo.cinderURL("/volumes"), of.body(t)}, &answer); status != http.StatusAccepted {
				t.Errorf("volume %d of %d: %d %s", i, n, status, refusal)
			}
			ids[i] = answer.Volume.ID
		})
	}
	meanwhile()
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, id := range ids {
		if v := w.demo.settled(t, id); v.Status == "available" {
			available = append(available, v)
		} else {
			failed = append(failed, v)
		}
	}
	return available, failed
}

// Two controllers make fifty volumes of an image that nobody has cached: it is read once for both. If one of them loses its
// power in it, cinder-volume and daemon at once, the other one goes on, and reads the image once more at most; what Cinder had
// given the dead one ends in error once its cinder-volume is back. Nothing is left over.
func TestTwoCinderVolumesOfOneCluster(t *testing.T) {
	w, both := beginControllers(t)
	defer w.end(t)
	t.Run("together", func(t *testing.T) {
		d := newDisk(t, 80, 256*mib, 192*mib)
		image := w.upload(t, d.path, "raw", nil)
		log, madeBy := lab.logged(t, "glance"), followed(t, both)
		of := wanted{Image: image, Type: "rbd1"}
		made, failed := w.ended(t, 50, of, func() {})
		if n := downloads(log(), image); n != 1 || len(failed) != 0 {
			t.Errorf("the image was read %d times, and %d volumes failed: want once, and none", n, len(failed))
		}
		sameContent(t, d, made...)
		t.Logf("made by the two: %v", madeBy(made))
		if by := madeBy(made); len(by) != 2 {
			t.Errorf("made by %v, want both controllers", by)
		}
		w.deleteVolumes(t) // the lab's Ceph has room for so many
	})
	t.Run("one is killed", func(t *testing.T) { checkOneKilled(t, w, both) })
}

func checkOneKilled(t *testing.T, w *world, both []controller) {
	d := newDisk(t, 81, 768*mib, 704*mib)
	image := w.upload(t, d.path, "raw", nil)
	log, madeBy := lab.logged(t, "glance"), followed(t, both)
	var dead controller
	made, failed := w.ended(t, 50, wanted{Image: image, Type: "rbd1"}, func() {
		dead = filling(t, both)
		dead.Kill()
		lab.signal(t, dead.service, syscall.SIGKILL)
		lab.do(t, "kill", dead.service)
		t.Logf("killed %s in the fill", dead.service)
		dead.Start(t)
		lab.do(t, "start", dead.service)
	})
	if n := downloads(log(), image); n > 2 {
		t.Errorf("the image was read %d times, want twice at most", n)
	}
	t.Logf("%d volumes are made, %d failed with the controller that was killed; the image was read %d times", len(made), len(failed), downloads(log(), image))
	if len(made) < 20 {
		t.Errorf("%d volumes are made, want those of the other controller at least", len(made))
	}
	if by := madeBy(failed); by[dead.service] != len(failed) || len(by) > 1 {
		t.Errorf("failed volumes were given to %v, want %s alone", by, dead.service)
	}
	sameContent(t, d, made...)
	again := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	sameContent(t, d, again)
	for _, c := range both {
		if r := c.Check(t); !r.OK {
			t.Errorf("check of %s found problems: %+v", c.service, r.Problems)
		}
	}
}

// filling waits until one of the daemons has begun to cache the image, and returns that one.
func filling(t *testing.T, both []controller) (reads controller) {
	t.Helper()
	by := make(map[plugin.InstanceID]controller)
	for _, c := range both {
		by[c.Status(t).InstanceID] = c
	}
	client := both[0].Client(t)
	harness.Until(t, "the download has begun", func() bool {
		fills, err := client.Fills(t.Context())
		if err != nil || len(fills) == 0 {
			return false
		}
		reads = by[fills[0].InstanceID]
		return reads.Daemon != nil
	})
	return reads
}

// followed tells by the logs of the cinder-volumes, from now on, which of them a volume was given to: to Cinder they are one host.
func followed(t *testing.T, both []controller) (madeBy func([]volume) map[string]int) {
	t.Helper()
	logs := make(map[string]func() string)
	for _, c := range both {
		logs[c.service] = lab.logged(t, c.service)
	}
	return func(volumes []volume) map[string]int {
		by := make(map[string]int)
		for service, log := range logs {
			text := log()
			for _, v := range volumes {
				if strings.Contains(text, v.ID) {
					by[service]++
				}
			}
		}
		return by
	}
}
