package kinds

import (
	"context"
	"strings"
	"unicode"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant"
)

// localName is whom the ledger's claims belong to where nobody says otherwise.
const localName = "clonecache"

// localTenant is a ledger of clonecache's own.
type localTenant struct {
	ProjectID string `toml:"project_id"`
	UserID    string `toml:"user_id"`
}

// Check implements config.Settings.
func (t *localTenant) Check(table *config.Table) {
	for _, id := range []struct{ key, value string }{{"project_id", t.ProjectID}, {"user_id", t.UserID}} {
		if strings.TrimSpace(id.value) == "" {
			table.Problem(id.key, "it is empty", `give an ID, or leave it out for "clonecache"`)
		}
		if strings.ContainsFunc(id.value, unicode.IsControl) {
			table.Problem(id.key, "it has control characters", "remove them")
		}
	}
}

// Open implements Tenant.
func (t *localTenant) Open(_ context.Context, cfg config.Config, ledger internaltenant.Ledger, _ logrus.FieldLogger) (internaltenant.Owner, error) {
	return t.open(cfg, ledger)
}

func (t *localTenant) open(cfg config.Config, ledger internaltenant.Ledger) (*internaltenant.Local, error) {
	return internaltenant.NewLocal(internaltenant.LocalConfig{
		ProjectID: t.ProjectID, UserID: t.UserID,
		MaxVolumes: cfg.InternalTenant.MaxVolumes, MaxGigabytes: cfg.InternalTenant.MaxGigabytes,
	}, ledger)
}

// Try implements Tenant: there is nothing outside of state_dir that could be tried.
func (*localTenant) Try(context.Context, config.Config, *Part) {}

// Cinder implements Tenant.
func (*localTenant) Cinder() bool { return false }
