//go:build openstack

package openstack

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// A program without the hook gets a volume for a project that the daemon has no credentials of: a user there accepts it. One that
// nobody accepts goes when it is deleted.
func checkTransferred(t *testing.T, w *world, backend string) {
	d := newDisk(t, 77, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", community)
	offer := func(name string) (a plugin.Answer) {
		t.Helper()
		r := w.daemon.CLI(t, "volume", "create", "glance:"+image, "--name", name, "--size", "2GiB", "--backend", backend, "--transfer", "-o", "json")
		if err := json.Unmarshal([]byte(r.Stdout), &a); err != nil || a.Transfer == nil || a.VolumeID == "" {
			t.Fatalf("got %+v, %v, want a volume and what takes it over; exit %d\n%s", a, err, r.Exit, r.Stderr)
		}
		return a
	}
	a := offer("handed-over")
	w.demo.must(t, call{http.MethodPost, w.demo.cinderURL("/os-volume-transfer/" + a.Transfer.ID + "/accept"),
		object{"accept": object{"auth_key": string(a.Transfer.Key)}}}, nil)
	v := w.demo.settled(t, string(a.VolumeID))
	if v.Status != "available" || v.Size != 2 || v.Bootable != "true" {
		t.Errorf("accepted: %+v", v)
	}
	wantContent(t, d, v)
	left := offer("left-over")
	if all := listed(t, w); len(all) != 1 || all[0].Volume != left.Volume || !all[0].Complete {
		t.Errorf("listed: %+v, want %s alone", all, left.Volume)
	}
	if r := w.daemon.CLI(t, "volume", "delete", "left-over", "--backend", backend); r.Exit != 0 {
		t.Errorf("volume delete: exit %d\n%s%s", r.Exit, r.Stdout, r.Stderr)
	}
	status, _, _ := w.internal.try(t, call{http.MethodGet, w.internal.cinderURL("/volumes/" + string(left.VolumeID)), nil}, nil)
	if status != http.StatusNotFound {
		t.Errorf("Cinder still has volume %s: %d", left.VolumeID, status)
	}
}

func listed(t *testing.T, w *world) []plugin.VolumeView {
	t.Helper()
	all, err := w.daemon.Client(t).Volumes(t.Context(), backends.Name(""))
	if err != nil {
		t.Error(err)
	}
	return all
}
