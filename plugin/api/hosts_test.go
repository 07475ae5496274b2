package api_test

import (
	"errors"
	"testing"

	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/catalog"
)

func TestHostsAreListedAndRemoved(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	all, err := d.client.Hosts(t.Context())
	if err != nil || len(all) != 1 || all[0].State != catalog.HostUp || len(all[0].Leases) != 1 || all[0].Leases[0].Duty != catalog.DutyReap {
		t.Errorf("hosts: %+v, %v", all, err)
	}
	if was, err := d.client.RemoveHost(t.Context(), "lost"); err != nil || was.ID != "lost" {
		t.Errorf("remove: %+v, %v", was, err)
	}
	var refused *api.Error
	if _, err := d.client.RemoveHost(t.Context(), "0b2d4c1e"); !errors.As(err, &refused) || refused.Code != "host_up" || refused.Status != 409 {
		t.Errorf("remove one that is up: %v", err)
	}
}
