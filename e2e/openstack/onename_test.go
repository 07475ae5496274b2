//go:build openstack

package openstack

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// Two daemons on one catalog, on MariaDB, are asked for one name at the same instant, again and again: Cinder, which would take
// both, makes one volume each time, and both answer with it.
func TestOneNameOnTwoDaemonsOfOneCluster(t *testing.T) {
	const backend, rounds = "rbd2", 12
	db := &harness.Database{Dir: fmt.Sprintf("/tmp/cc-lab-db-%d", os.Getpid()), Port: harness.FreePort(t)}
	db.Up(t)
	text := db.New(t).Text() + services() + fmt.Sprintf("[[backend]]\nname = %q\nkind = \"cinder\"\nvolume_type = %q\nmax_count = 2\n", backend, backend)
	both := []*harness.Daemon{harness.New(t, harness.Config{Tables: text}), harness.New(t, harness.Config{Tables: text})}
	both[0].Migrate(t)
	for _, d := range both {
		d.Start(t)
	}
	w := &world{daemon: both[0], demo: login(t, "demo"), other: login(t, "other"), admin: login(t, "admin"), internal: login(t, "cinder-internal")}
	defer w.end(t)
	d := newDisk(t, 82, 16*mib, 8*mib)
	request := api.CreateRequest{Backend: backend, Image: "glance:" + w.upload(t, d.path, "raw", community), SizeBytes: 1 << 30}
	for round := range rounds {
		request.Volume = backends.VolumeName(fmt.Sprintf("one-%d", round))
		var answers [2]plugin.Answer
		var asked sync.WaitGroup
		for i, d := range both {
			asked.Go(func() {
				var err error
				if answers[i], err = d.Client(t).CreateVolume(t.Context(), request, nil); err != nil {
					t.Error(err)
				}
			})
		}
		asked.Wait()
		made := w.named(t, string(request.Volume))
		if len(made) != 1 || answers[0].VolumeID != backends.VolumeID(made[0].ID) || answers[1].VolumeID != answers[0].VolumeID {
			t.Errorf("round %d: Cinder has %+v; the daemons answered %s and %s", round, made, answers[0].VolumeID, answers[1].VolumeID)
		}
		if round == 0 && len(made) == 1 {
			wantContent(t, d, w.internal.settled(t, made[0].ID))
		}
		for range made {
			if r := both[1].CLI(t, "volume", "delete", string(request.Volume), "--backend", backend); r.Exit != 0 {
				t.Errorf("volume delete: exit %d\n%s", r.Exit, r.Stderr)
			}
		}
	}
}
