package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func TestAListOfAllVolumesNamesTheBackendsThatItLeavesOut(t *testing.T) {
	fake := newFake()
	fake.volumes["v1"] = plugin.VolumeView{Volume: "v1", Backend: "local"}
	d := startDaemon(t, fake, api.ServerConfig{})
	if volumes, err := d.client.Volumes(t.Context(), ""); err != nil || len(volumes) != 1 {
		t.Fatalf("while all answer: got %+v, %v", volumes, err)
	}
	fake.silent = &plugin.PartialError{Unavailable: []plugin.UnavailableView{{Name: "ceph", Error: "/secret: no answer"}, {Name: "nfs"}}}
	volumes, err := d.client.Volumes(t.Context(), "")
	var e *api.Error
	if !errors.As(err, &e) || e.Code != "backend_unavailable" || e.Status != http.StatusServiceUnavailable || !e.Retryable {
		t.Fatalf("got %+v, want backend_unavailable", err)
	}
	if !strings.Contains(e.Message, "ceph,nfs") || len(volumes) != 1 {
		t.Errorf("got %q beside %+v, want both names beside the one volume", e.Message, volumes)
	}
	if volumes, err := d.client.Volumes(t.Context(), "local"); err != nil || len(volumes) != 1 {
		t.Errorf("of one backend: got %+v, %v", volumes, err)
	}
}
