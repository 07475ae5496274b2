package daemon

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/internaltenant/openstack"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/glance"
)

// openstackTenant is the internal tenant in Cinder, with the local ledger for backends whose image-volumes
// are outside of it. What is wrong with it is logged, and keeps nobody from starting: until it is mended,
// requests are served without image-volumes.
func openstackTenant(ctx context.Context, cfg config.Config, ledger internaltenant.Ledger, log logrus.FieldLogger) (internaltenant.Owner, error) {
	catalog, err := plugin.CatalogOf(string(cfg.StateDir)) // the open catalog's, by now
	if err != nil {
		return nil, err
	}
	owner, err := newOpenStackTenant(cfg, ledger, catalog)
	if err != nil {
		return nil, err
	}
	const patience = 15 * time.Second // Keystone may be down
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	warnings, err := owner.Check(ctx)
	for _, w := range warnings {
		log.Warn("internal tenant: " + w)
	}
	if err != nil {
		log.WithError(err).Error("internal tenant is not usable; see `clonecache config check`")
	}
	return owner, nil
}

// newOpenStackTenant is the tenant for claims of a catalog; with none, it can only be asked.
func newOpenStackTenant(cfg config.Config, ledger internaltenant.Ledger, catalog backends.CatalogID) (*openstack.Owner, error) {
	t := cfg.InternalTenant
	account, err := keystone.New(t.Keystone())
	if err != nil {
		return nil, fmt.Errorf("internal tenant: %w", err)
	}
	others, err := internaltenant.NewLocal(internaltenant.LocalConfig{
		ProjectID: localTenant, UserID: localTenant, MaxVolumes: t.MaxVolumes, MaxGigabytes: t.MaxGigabytes,
	}, ledger)
	if err != nil {
		return nil, err
	}
	c := openstack.Config{Account: account, Catalog: string(catalog), Others: others}
	for _, b := range cfg.Backends {
		if b.ImageVolumes == config.ImageVolumesCinder {
			c.Backends = append(c.Backends, openstack.Backend{Name: b.Name, VolumeType: b.VolumeType})
		} else {
			c.OthersExist = openstack.Some
		}
	}
	return openstack.New(c)
}

// localTenant is whom the ledger's claims belong to where the real tenant is Cinder's.
const localTenant = "clonecache"

// glanceSource is an image source with an account of its own.
func glanceSource(c config.ImageSource) (*glance.Source, error) {
	account, err := keystone.New(c.Keystone())
	if err != nil {
		return nil, fmt.Errorf("image source %s: %w", c.Name, err)
	}
	return glance.New(glance.Config{Name: c.Name, Endpoint: c.Endpoint, Account: glanceAccount{account}})
}

// glanceAccount is an account in the words of package glance.
type glanceAccount struct{ account *keystone.Account }

func (g glanceAccount) Token(ctx context.Context) (imagesource.Token, error) {
	return tokenOf(g.account.Session(ctx))
}

func (g glanceAccount) Renew(ctx context.Context, rejected imagesource.Token) (imagesource.Token, error) {
	return tokenOf(g.account.Renew(ctx, string(rejected)))
}

func (g glanceAccount) Endpoint(ctx context.Context) (string, error) {
	return g.account.Endpoint(ctx, keystone.Image)
}

func (g glanceAccount) Transport() (http.RoundTripper, error) { return g.account.Transport() }

func tokenOf(s *keystone.Session, err error) (imagesource.Token, error) {
	if err != nil {
		return "", err
	}
	return imagesource.Token(s.Token()), nil
}

// tenant tries the internal tenant in OpenStack.
func (t *Trial) tenant(ctx context.Context, cfg config.Config) {
	const key = "internal_tenant"
	if cfg.InternalTenant.Kind != "openstack" {
		return
	}
	t.secrets(key, cfg.InternalTenant.Account)
	owner, err := newOpenStackTenant(cfg, &internaltenant.MemoryLedger{}, "")
	if err != nil {
		t.problem(key, err, "")
		return
	}
	warnings, err := owner.Check(ctx)
	t.Warnings = append(t.Warnings, warningsAt(key, warnings)...)
	if err != nil {
		t.problem(key, err, "")
		return
	}
	usage, err := owner.Usage(ctx)
	if err != nil {
		t.problem(key, err, "")
		return
	}
	t.fact("internal tenant: user %s in project %s, with %s volumes and %s GiB", usage.UserID, usage.ProjectID,
		ofLimit(usage.Volumes), ofLimit(usage.Gigabytes))
}

func warningsAt(key string, sentences []string) []config.Problem {
	var ps []config.Problem
	for _, s := range sentences {
		ps = append(ps, config.Problem{Key: key, What: s})
	}
	return ps
}

func ofLimit(a internaltenant.Amounts) string {
	if a.Limit == internaltenant.Unlimited {
		return fmt.Sprintf("%d (unlimited)", a.InUse+a.Reserved)
	}
	return fmt.Sprintf("%d of %d", a.InUse+a.Reserved, a.Limit)
}

// secrets checks the files that an account's secrets are in.
func (t *Trial) secrets(at string, a config.Account) {
	for _, f := range []struct {
		key  string
		file config.SecretFile
	}{{"password_file", a.PasswordFile}, {"application_credential_secret_file", a.ApplicationCredentialSecretFile}} {
		if err := f.file.Check(); err != nil {
			t.problem(at+"."+f.key, err, "")
		}
	}
}

// glance tries an image source in OpenStack.
func (t *Trial) glance(ctx context.Context, at string, s config.ImageSource) {
	t.secrets(at, s.Account)
	source, err := glanceSource(s)
	if err != nil {
		t.problem(at, err, "")
		return
	}
	where, err := source.Check(ctx)
	if err != nil {
		t.problem(at, err, "")
		return
	}
	t.fact("image source %s: Glance at %s answers", s.Name, where)
}
