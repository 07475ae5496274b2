package daemon

import (
	"reflect"
	"testing"

	"github.com/clonecache/clonecache/plugin/api"
)

const withTenant = `
state_dir = "/s"
listen = ["unix:///s/s"]
[internal_tenant]
kind = "openstack"
auth_url = "https://keystone.example.org:5000"
user = "cinder-internal"
project = "cinder-internal"
password_file = "/s/password"
[[image_source]]
name = "library"
kind = "directory"
path = "/s/images"
[[backend]]
name = "local"
kind = "file"
path = "/s/volumes"
`

const inCinder = "[[backend]]\nname = \"san\"\nkind = \"cinder\"\nvolume_type = \"fast\"\n"

// The internal tenant is told at the start for which backends it makes volumes: another one waits for the next start. One that it
// was told of goes, and comes back.
func TestABackendInCinderThatTheTenantHasNotHeardOfWaits(t *testing.T) {
	without, _ := parse(t, withTenant)
	with, _ := parse(t, withTenant+inCinder)
	slow, _ := parse(t, withTenant+inCinder+"[[backend]]\nname = \"disk\"\nkind = \"file\"\npath = \"/s/disk\"\n")
	slow.Backends[1].Name = "slow"
	changed := func(names ...string) api.Reloaded {
		return api.Reloaded{Changed: append([]string{}, names...), NeedsRestart: []string{}}
	}
	d := &running{cfg: without, stores: &stores{}}
	if _, got := merged(without, with, d.barred); !reflect.DeepEqual(got, api.Reloaded{Changed: []string{}, NeedsRestart: []string{"backend san"}}) {
		t.Errorf("one that is new: %+v", got)
	}
	if _, got := merged(without, slow, d.barred); !reflect.DeepEqual(got, api.Reloaded{Changed: []string{"backend disk"}, NeedsRestart: []string{"backend slow"}}) {
		t.Errorf("beside one of which Cinder does not know: %+v", got)
	}
	d.cfg = with
	if _, got := merged(with, without, d.barred); !reflect.DeepEqual(got, changed("backend san")) {
		t.Errorf("one goes: %+v", got)
	}
	if _, got := merged(without, with, d.barred); !reflect.DeepEqual(got, changed("backend san")) {
		t.Errorf("one comes back: %+v", got)
	}
}
