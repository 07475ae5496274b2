//go:build openstack

package openstack

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/internaltenant/ownertest"
)

// lab is a real OpenStack, as its administrator reaches it.
type lab struct {
	authURL          string
	other            string // the ID of the project other
	identity, cinder *gophercloud.ServiceClient
}

// openLab takes the clouds.yaml that CLONECACHE_LAB names, of e2e/openstack/lab.sh.
func openLab(t *testing.T) *lab {
	t.Helper()
	file := os.Getenv("CLONECACHE_LAB")
	if file == "" {
		t.Skip("no OpenStack lab: CLONECACHE_LAB names no clouds.yaml; see e2e/openstack/lab.sh")
	}
	ao, eo, tlsConfig, err := clouds.Parse(clouds.WithCloudName("admin"), clouds.WithLocations(file))
	must(t, err)
	ao.AllowReauth = true
	const patience = time.Minute
	provider, err := config.NewProviderClient(t.Context(), ao, config.WithHTTPClient(http.Client{Timeout: patience}), config.WithTLSConfig(tlsConfig))
	must(t, err)
	l := &lab{authURL: ao.IdentityEndpoint}
	l.identity, err = gopherstack.NewIdentityV3(provider, eo)
	must(t, err)
	l.cinder, err = gopherstack.NewBlockStorageV3(provider, eo)
	must(t, err)
	pages, err := projects.List(l.identity, projects.ListOpts{Name: "other"}).AllPages(t.Context())
	must(t, err)
	found, err := projects.ExtractProjects(pages)
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("%d projects are called other, want 1", len(found))
	}
	l.other = found[0].ID
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tenant is the lab's user other, a member of the project other and nothing else, with those limits until
// the test ends. Nobody else has volumes there.
func (l *lab) tenant(t *testing.T, limits ownertest.Limits) keystone.Config {
	t.Helper()
	l.limit(t.Context(), t, limits)
	t.Cleanup(func() { l.limit(context.WithoutCancel(t.Context()), t, ownertest.Limits{}) })
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte("secret\n"), 0o600))
	return keystone.Config{AuthURL: l.authURL, User: "other", Project: "other", PasswordFile: file, Timeout: 2 * time.Minute}
}

func (l *lab) limit(ctx context.Context, t *testing.T, limits ownertest.Limits) {
	t.Helper()
	unlimited := func(n int64) *int {
		limit := int(n)
		if n == 0 {
			limit = -1
		}
		return &limit
	}
	must(t, quotasets.Update(ctx, l.cinder, l.other, quotasets.UpdateOpts{
		Volumes: unlimited(limits.Volumes), Gigabytes: unlimited(limits.Gigabytes),
	}).Err)
}

// owner is that of a tenant without claims; what the test leaves is removed at its end.
func (l *lab) owner(t *testing.T, limits ownertest.Limits) (*Owner, keystone.Config) {
	t.Helper()
	who := l.tenant(t, limits)
	account, err := keystone.New(who)
	must(t, err)
	others, err := internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "local", UserID: "local"}, &internaltenant.MemoryLedger{})
	must(t, err)
	o, err := New(Config{Account: account, Catalog: ownCatalog, Others: others, Backends: []Backend{{Name: "local", VolumeType: "rbd1"}}})
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		claims, err := o.Claims(ctx)
		for _, c := range claims {
			err = errors.Join(err, o.Release(ctx, c.ID))
		}
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return o, who
}

func TestCinderKeepsTheContract(t *testing.T) {
	l := openLab(t)
	for _, check := range ownertest.Checks() {
		if check.Name == "ZeroLimitIsUnlimited" {
			continue // no machine has room for 20 volumes of 1,000 GiB; the recorded Cinder passes it
		}
		t.Run(check.Name, func(t *testing.T) {
			err := check.Run(t.Context(), func(_ context.Context, limits ownertest.Limits) (internaltenant.Owner, error) {
				o, _ := l.owner(t, limits)
				return o, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCinderKeepsASettledVolumeFromBeingDeletedAndAttached(t *testing.T) {
	o, _ := openLab(t).owner(t, ownertest.Limits{})
	began := time.Now()
	c := claim(t, o, spec("e"))
	t.Logf("claim took %v", time.Since(began))
	must(t, o.Settle(t.Context(), c.ID))
	cinder, err := o.cinder(t.Context())
	must(t, err)
	v, err := cinder.get(t.Context(), string(c.ID))
	must(t, err)
	if v.Status != statusAttaching || v.Metadata["readonly"] != "True" || v.Metadata[metaState] != stateInUse || v.Name != "image-8e33" {
		t.Errorf("settled volume is %+v", v.Volume)
	}
	for what, err := range map[string]error{
		"delete": volumes.Delete(t.Context(), cinder.api, v.ID, nil).ExtractErr(),
		"attach": volumes.Attach(t.Context(), cinder.api, v.ID, volumes.AttachOpts{MountPoint: "/dev/vdb", HostName: "h", Mode: volumes.ReadWrite}).ExtractErr(),
		"extend": volumes.ExtendSize(t.Context(), cinder.api, v.ID, volumes.ExtendSizeOpts{NewSize: 3}).ExtractErr(),
	} {
		if !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
			t.Errorf("%s: %v, want it refused with 400", what, err)
		}
	}
	began = time.Now()
	must(t, o.Release(t.Context(), c.ID))
	t.Logf("release took %v", time.Since(began))
	if _, err := cinder.get(t.Context(), v.ID); !errors.Is(err, errNoVolume) {
		t.Errorf("released volume: %v, want errNoVolume", err)
	}
}

func TestCinderSaysTheLimitInItsOwnWords(t *testing.T) {
	o, _ := openLab(t).owner(t, ownertest.Limits{Gigabytes: 1})
	_, err := o.Claim(t.Context(), spec("e"))
	if !errors.Is(err, internaltenant.ErrOverQuota) || !strings.Contains(err.Error(), "exceeds allowed gigabytes quota. Requested 2G, quota is 1G") {
		t.Errorf("error = %v", err)
	}
	details, err := o.Details(t.Context())
	if err != nil || len(details) < 4 || details[1] != (internaltenant.ResourceUsage{Name: "gigabytes", Limit: 1}) {
		t.Errorf("details are %+v, %v", details, err)
	}
}

// Cinder's quota of 0 allows nothing, and -1 anything.
func TestCindersQuotaOfZeroAllowsNothing(t *testing.T) {
	l := openLab(t)
	o, _ := l.owner(t, ownertest.Limits{})
	none := 0
	must(t, quotasets.Update(t.Context(), l.cinder, l.other, quotasets.UpdateOpts{Volumes: &none}).Err)
	if _, err := o.Claim(t.Context(), spec("e")); !errors.Is(err, internaltenant.ErrOverQuota) {
		t.Errorf("claim where no volume is allowed: %v, want ErrOverQuota", err)
	}
	u, err := o.Usage(t.Context())
	if err != nil || u.Volumes != (internaltenant.Amounts{}) || u.Gigabytes != (internaltenant.Amounts{Limit: internaltenant.Unlimited}) {
		t.Errorf("usage is %+v, %v; want limits of 0 volumes and %d gigabytes, and nothing used", u, err, internaltenant.Unlimited)
	}
	l.limit(t.Context(), t, ownertest.Limits{})
	claim(t, o, spec("e"))
	if u, err := o.Usage(t.Context()); err != nil || u.Volumes != (internaltenant.Amounts{Limit: internaltenant.Unlimited, Reserved: 1}) {
		t.Errorf("usage is %+v, %v; want no limit of volumes, and one reserved", u, err)
	}
}

func TestARevokedTokenIsRenewed(t *testing.T) {
	l := openLab(t)
	o, _ := l.owner(t, ownertest.Limits{})
	c := claim(t, o, spec("e"))
	s, err := o.config.Account.Session(t.Context())
	must(t, err)
	must(t, tokens.Revoke(t.Context(), l.identity, s.Token()).Err)
	claims, err := o.Claims(t.Context())
	if err != nil || len(claims) != 1 || claims[0] != c {
		t.Errorf("claims after the token was revoked: %+v, %v", claims, err)
	}
}

func TestKeystoneRefuses(t *testing.T) {
	l := openLab(t)
	good := l.tenant(t, ownertest.Limits{})
	wrong := filepath.Join(t.TempDir(), "wrong")
	must(t, os.WriteFile(wrong, []byte("battery staple"), 0o600))
	for _, c := range []struct {
		name   string
		change func(*keystone.Config)
		want   error
		says   string
	}{
		{"password", func(c *keystone.Config) { c.PasswordFile = wrong }, internaltenant.ErrNoTenant, "the password is wrong"},
		{"user", func(c *keystone.Config) { c.User = "nobody" }, internaltenant.ErrNoTenant, "no such enabled user"},
		{"project", func(c *keystone.Config) { c.Project = "none" }, internaltenant.ErrNoTenant, "it has roles in: " + good.Project},
		{"role", func(c *keystone.Config) { c.Project = "demo" }, internaltenant.ErrNoTenant, "openstack role add --user " + good.User + " --project demo member"},
		{"region", func(c *keystone.Config) { c.Region = "moon" }, internaltenant.ErrNoTenant, "region moon"},
		{"port", func(c *keystone.Config) { c.AuthURL = "http://127.0.0.1:1/v3" }, internaltenant.ErrUnavailable, "127.0.0.1:1"},
	} {
		bad := good
		c.change(&bad)
		account, err := keystone.New(bad)
		must(t, err)
		_, err = account.Endpoint(t.Context(), keystone.BlockStorage)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "staple") {
			t.Errorf("%s: %v, want %v that says %q", c.name, err, c.want, c.says)
		}
	}
}

func TestCheckAgainstCinder(t *testing.T) {
	o, _ := openLab(t).owner(t, ownertest.Limits{})
	if warnings, err := o.Check(t.Context()); err != nil || len(warnings) != 0 {
		t.Errorf("check: %v, %q", err, warnings)
	}
	o.types["local"], o.made["local"] = "gold", Backend{Name: "local", VolumeType: "gold"}
	if _, err := o.Check(t.Context()); !errors.Is(err, internaltenant.ErrNoTenant) || !strings.Contains(err.Error(), `"gold"`) {
		t.Errorf("check of an unknown type: %v", err)
	}
	bad := spec("e")
	if _, err := o.Claim(t.Context(), bad); !errors.Is(err, internaltenant.ErrNoTenant) || !strings.Contains(err.Error(), "gold") {
		t.Errorf("claim of an unknown type: %v", err)
	}
}
