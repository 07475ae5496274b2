//go:build openstack

package openstack

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// A daemon that is killed between its clone and its answer, before or after the volume was offered, leaves a volume of which
// nobody was told. The repeated request gets that one, with the only offer that there is; nothing else is left.
func checkKilledBeforeTransfer(t *testing.T, w *world, backend string) {
	d := newDisk(t, 78, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", community)
	for step, offers := range map[failpoint.Step]int{failpoint.Clone: 0, failpoint.Offer: 1} {
		t.Run("killed after "+string(step), func(t *testing.T) {
			name := "killed-" + string(step)
			ask := func() harness.Result {
				return w.daemon.CLI(t, "volume", "create", "glance:"+image, "--name", name, "--size", "1GiB", "--backend", backend, "--transfer", "-o", "json")
			}
			w.restart(t, string(step))
			if r := ask(); r.Exit == 0 {
				t.Fatalf("the daemon was to die in it: %s", r.Stdout)
			}
			<-w.daemon.Ended()
			if !w.daemon.Killed() {
				t.Fatal("the daemon ended, and was not killed")
			}
			left := w.named(t, name)
			if len(left) != 1 || len(w.transfersOf(t, left)) != offers {
				t.Fatalf("left by the kill: %+v with %d offers, want one volume with %d", left, len(w.transfersOf(t, left)), offers)
			}
			w.daemon.KillAfter = ""
			w.daemon.Start(t)
			var a plugin.Answer
			r := ask()
			if err := json.Unmarshal([]byte(r.Stdout), &a); err != nil || a.Transfer == nil || a.Reason != plugin.ReasonRepeated {
				t.Fatalf("repeated: %+v, %v; exit %d\n%s", a, err, r.Exit, r.Stderr)
			}
			if a.VolumeID != backends.VolumeID(left[0].ID) {
				t.Errorf("repeated: volume %s, want %s, which the kill had left", a.VolumeID, left[0].ID)
			}
			if all, now := w.named(t, name), w.transfersOf(t, left); len(all) != 1 || len(now) != 1 || now[0] != a.Transfer.ID {
				t.Errorf("after the repeated request: %+v with the offers %v, want one with %s", all, now, a.Transfer.ID)
			}
			w.demo.must(t, call{http.MethodPost, w.demo.cinderURL("/os-volume-transfer/" + a.Transfer.ID + "/accept"),
				object{"accept": object{"auth_key": string(a.Transfer.Key)}}}, nil)
			wantContent(t, d, w.demo.settled(t, string(a.VolumeID)))
			if all := w.named(t, name); len(all) != 0 {
				t.Errorf("the internal tenant still has %+v", all)
			}
			if all := listed(t, w); len(all) != 0 {
				t.Errorf("listed: %+v", all)
			}
			if c := w.daemon.Check(t); !c.OK {
				t.Errorf("check found problems: %+v", c.Problems)
			}
		})
	}
}

// restart starts the daemon anew; killAfter is the step after which it dies.
func (w *world) restart(t *testing.T, killAfter string) {
	t.Helper()
	w.daemon.Stop(t)
	w.daemon.KillAfter = killAfter
	w.daemon.Start(t)
}

// named are the internal tenant's volumes of a name.
func (w *world) named(t *testing.T, name string) (all []volume) {
	t.Helper()
	for _, v := range w.internal.volumes(t) {
		if v.Name == name {
			all = append(all, v)
		}
	}
	return all
}

// transfersOf are the IDs of the offers of these volumes.
func (w *world) transfersOf(t *testing.T, volumes []volume) (ids []string) {
	t.Helper()
	var got struct {
		Transfers []struct {
			ID     string `json:"id"`
			Volume string `json:"volume_id"`
		} `json:"transfers"`
	}
	w.internal.must(t, call{http.MethodGet, w.internal.cinderURL("/os-volume-transfer/detail"), nil}, &got)
	for _, o := range got.Transfers {
		for _, v := range volumes {
			if o.Volume == v.ID {
				ids = append(ids, o.ID)
			}
		}
	}
	return ids
}
