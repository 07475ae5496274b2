package kinds

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/internaltenant/openstack"
	"github.com/clonecache/clonecache/plugin"
)

// openstackTenant is a project in OpenStack, whose quota in Cinder is charged; with the local ledger for backends
// whose image-volumes are outside of Cinder.
type openstackTenant struct {
	account
}

// Check implements config.Settings.
func (t *openstackTenant) Check(table *config.Table) { t.check(table) }

// Open implements Tenant. What is wrong with the account is logged, and keeps nobody from starting: until it is
// mended, requests are served without image-volumes.
func (t *openstackTenant) Open(ctx context.Context, cfg config.Config, ledger internaltenant.Ledger, log logrus.FieldLogger) (internaltenant.Owner, error) {
	catalog, err := plugin.CatalogOf(string(cfg.StateDir)) // the open catalog's, by now
	if err != nil {
		return nil, err
	}
	owner, err := t.open(cfg, ledger, catalog)
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

// open makes the tenant for claims of a catalog; with none, it can only be asked.
func (t *openstackTenant) open(cfg config.Config, ledger internaltenant.Ledger, catalog backends.CatalogID) (*openstack.Owner, error) {
	account, err := keystone.New(t.keystone())
	if err != nil {
		return nil, fmt.Errorf("internal tenant: %w", err)
	}
	others, err := (&localTenant{ProjectID: localName, UserID: localName}).open(cfg, ledger)
	if err != nil {
		return nil, err
	}
	c := openstack.Config{Account: account, Catalog: string(catalog), Others: others}
	for _, b := range cfg.Backends {
		if volumeType := OfBackend(b).VolumeType(); volumeType != "" {
			c.Backends = append(c.Backends, openstack.Backend{Name: b.Name, VolumeType: volumeType, Content: contentOf(b)})
		} else {
			c.OthersExist = openstack.Some
		}
	}
	return openstack.New(c)
}

// contentOf says what a claim's volume has in it.
func contentOf(b config.Backend) openstack.Content {
	if _, lends := b.Of.(Lending); lends {
		return openstack.OfImage
	}
	return openstack.Empty
}

// Try implements Tenant.
func (t *openstackTenant) Try(ctx context.Context, cfg config.Config, part *Part) {
	t.secrets(part)
	owner, err := t.open(cfg, &internaltenant.MemoryLedger{}, "")
	if err != nil {
		part.Problem("", err, "")
		return
	}
	warnings, err := owner.Check(ctx)
	for _, w := range warnings {
		part.Warn(w)
	}
	if err != nil {
		part.Problem("", err, "")
		return
	}
	usage, err := owner.Usage(ctx)
	if err != nil {
		part.Problem("", err, "")
		return
	}
	part.Fact("internal tenant: user %s in project %s, with %s volumes and %s GiB", usage.UserID, usage.ProjectID,
		ofLimit(usage.Volumes), ofLimit(usage.Gigabytes))
}

// Cinder implements Tenant.
func (*openstackTenant) Cinder() bool { return true }

func ofLimit(a internaltenant.Amounts) string {
	if a.Limit == internaltenant.Unlimited {
		return fmt.Sprintf("%d (unlimited)", a.InUse+a.Reserved)
	}
	return fmt.Sprintf("%d of %d", a.InUse+a.Reserved, a.Limit)
}
