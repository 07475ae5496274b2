package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/plugin/api"
)

// guests are people whom Keystone knows, with what their roles there let them do here.
type guests struct {
	bearers  *keystone.Bearers
	projects []string // IDs of those whose roles count, beside the whole cloud's
	roles    config.KeystoneRoles
}

// keystoneGuests is nil where Keystone lets nobody in.
func keystoneGuests(k config.APIKeystone) api.Guests {
	if k.AuthURL == "" {
		return nil
	}
	tokens := keystone.TokensAt(k.AuthURL, string(k.CAFile))
	return &guests{bearers: keystone.NewBearers(tokens, time.Now), projects: k.Projects, roles: k.Roles}
}

// Guest implements api.Guests.
func (g *guests) Guest(ctx context.Context, token string) (who api.Identity, known bool, err error) {
	b, err := g.bearers.Of(ctx, token)
	if errors.Is(err, keystone.ErrToken) {
		return api.Identity{}, false, nil
	}
	if err != nil {
		return api.Identity{}, false, err
	}
	return api.Identity{Name: nameOf(b), Role: g.role(b)}, true, nil
}

// nameOf names a bearer for events, by the ID first: another domain may have a user of the same name, and its administrator gives
// whom he likes any.
func nameOf(b keystone.Bearer) string {
	return fmt.Sprintf("Keystone user %s (%s)", b.UserID, b.UserName)
}

// role is the greatest that somebody has. What he is in a project that does not count is nothing here: whoever has a project
// makes whom he likes a reader of it.
func (g *guests) role(b keystone.Bearer) api.Role {
	if !b.System && !slices.Contains(g.projects, b.ProjectID) {
		return api.Nobody
	}
	for _, r := range []struct {
		name string
		role api.Role
	}{{g.roles.Admin, api.Admin}, {g.roles.Operator, api.Operator}, {g.roles.Reader, api.Reader}} {
		if r.name != "" && b.Has(r.name) {
			return r.role
		}
	}
	return api.Nobody
}
