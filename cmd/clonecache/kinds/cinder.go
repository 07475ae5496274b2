package kinds

import (
	"context"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant/keystone"
)

// The bounds of a Cinder backend's times; docs/configuration.md states them too.
const (
	minCinderWait = 10 * time.Second
	maxCinderWait = 24 * time.Hour
)

// cinderBackend has volumes on whichever driver Cinder has: Cinder fills the image-volumes, and the hook clones. Its account is
// the internal tenant's.
type cinderBackend struct {
	CinderType  string          `toml:"volume_type"`
	CloneAcross cinder.Across   `toml:"clone_across"`
	MaxClones   int             `toml:"max_clones"`
	FillTime    config.Duration `toml:"fill_time"`
	CloningTime config.Duration `toml:"clone_time"`

	tenant *openstackTenant // whose account it is
}

// Check implements config.Settings.
func (b *cinderBackend) Check(t *config.Table) {
	tenant, _ := t.Config.InternalTenant.Of.(*openstackTenant)
	if tenant == nil {
		t.Problem("kind", "there is no Cinder", `set [internal_tenant] kind = "openstack"`)
	} else {
		b.tenant = tenant
	}
	if b.CinderType == "" {
		t.Problem("volume_type", "it is missing", "name the Cinder volume type whose volumes land on this backend, and on no other")
	}
	t.Once("volume_type", b.CinderType, "give each backend a volume type of its own")
	if b.CloneAcross == "" {
		b.CloneAcross = cinder.WithinPool
	}
	t.OneOf("clone_across", string(b.CloneAcross), string(cinder.WithinPool), string(cinder.WithinBackend))
	if t.Given("fallback") {
		t.Problem("fallback", "Cinder alone writes its volumes, so that nothing can be copied into them", "remove it")
	}
	if b.MaxClones < 0 {
		t.Problem("max_clones", "it is negative", "give how many clones the driver makes of one volume, or leave it out where it says so itself")
	}
	if t.Given("fill_time") {
		t.Duration("fill_time", b.FillTime, minCinderWait, maxCinderWait)
	}
	if t.Given("clone_time") {
		t.Duration("clone_time", b.CloningTime, minCinderWait, maxCinderWait)
	}
}

// Open implements Backend. It asks nobody yet: Cinder may be down.
func (b *cinderBackend) Open(_ context.Context, name backends.Name, _ Host) (backends.Backend, error) {
	account, err := keystone.New(b.tenant.keystone())
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", name, err)
	}
	return cinder.Open(cinder.Config{
		Name: name, Account: account, VolumeType: b.CinderType, Across: b.CloneAcross,
		MaxClones: b.MaxClones, FillTime: time.Duration(b.FillTime),
	})
}

// Try implements Backend. That Cinder answers, and has the volume type, the internal tenant finds out.
func (b *cinderBackend) Try(_ context.Context, t *Part) {
	t.Fact("backend %s: Cinder fills volumes of type %s, and its driver clones them", t.Name, b.CinderType)
}

// Expected implements Backend.
func (b *cinderBackend) Expected() backends.Info {
	return backends.Info{Location: "volume type " + b.CinderType, CanClone: true, CloneMethod: "driver", IndependentClones: true}
}

// VolumeType implements Backend.
func (b *cinderBackend) VolumeType() string { return b.CinderType }

// Uncopied implements config.Uncopied.
func (*cinderBackend) Uncopied() {}

// CloneTime implements Lending.
func (b *cinderBackend) CloneTime() time.Duration { return time.Duration(b.CloningTime) }
