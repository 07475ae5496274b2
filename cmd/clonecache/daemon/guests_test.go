package daemon

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin/api"
)

// scoped is a token as Keystone describes it.
type scoped struct {
	user, project string
	system        bool
	roles         []string
}

// fakeKeystone tells of tokens as Keystone 22 does; one that it does not know is not found.
func fakeKeystone(t *testing.T, all map[string]scoped) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		is, known := all[r.Header.Get("X-Subject-Token")]
		if !known || r.URL.Path != "/v3/auth/tokens" || r.Header.Get("X-Auth-Token") != r.Header.Get("X-Subject-Token") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		token := map[string]any{"user": map[string]any{"id": "u-" + is.user, "name": is.user}, "expires_at": time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z")}
		if is.project != "" {
			token["project"] = map[string]any{"id": is.project, "name": is.project}
		}
		if is.system {
			token["system"] = map[string]any{"all": true}
		}
		roles := []map[string]string{}
		for _, name := range is.roles {
			roles = append(roles, map[string]string{"id": "r-" + name, "name": name})
		}
		token["roles"] = roles
		if err := json.NewEncoder(w).Encode(map[string]any{"token": token}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// What somebody is in the whole cloud, or in a project that was named, says what he may do; what he is in his own project does not.
func TestKeystonesRolesCountWhereTheConfigurationSaysSo(t *testing.T) {
	server := fakeKeystone(t, map[string]scoped{
		"system-admin": {"ada", "", true, []string{"member", "Admin"}}, "system-reader": {"rita", "", true, []string{"reader"}},
		"named":     {"otto", "p-storage", false, []string{"reader", "volume_operator"}},
		"elsewhere": {"eve", "p-eve", false, []string{"admin", "reader", "volume_operator"}},
		"unscoped":  {"uma", "", false, nil}, "other-role": {"moe", "p-storage", false, []string{"member"}},
	})
	g := keystoneGuests(config.APIKeystone{AuthURL: server.URL, Projects: []string{"p-storage"}, Roles: config.KeystoneRoles{Admin: "admin", Operator: "volume_operator", Reader: "reader"}})
	for token, want := range map[string]api.Identity{
		"system-admin": {Name: "Keystone user u-ada (ada)", Role: api.Admin}, "system-reader": {Name: "Keystone user u-rita (rita)", Role: api.Reader},
		"named": {Name: "Keystone user u-otto (otto)", Role: api.Operator}, "elsewhere": {Name: "Keystone user u-eve (eve)"}, "unscoped": {Name: "Keystone user u-uma (uma)"},
		"other-role": {Name: "Keystone user u-moe (moe)"},
	} {
		if who, known, err := g.Guest(t.Context(), token); who != want || !known || err != nil {
			t.Errorf("%s: got %+v, %v, %v, want %+v", token, who, known, err, want)
		}
	}
	if who, known, err := g.Guest(t.Context(), "revoked"); known || err != nil || who != (api.Identity{}) {
		t.Errorf("revoked: got %+v, %v, %v", who, known, err)
	}
	server.Close()
	if who, _, err := g.Guest(t.Context(), "named"); err != nil || who.Role != api.Operator {
		t.Errorf("remembered while Keystone is down: got %+v, %v", who, err)
	}
	if who, known, err := g.Guest(t.Context(), "never-seen"); err == nil || known {
		t.Errorf("not remembered while Keystone is down: got %+v, %v", who, known)
	}
	if keystoneGuests(config.APIKeystone{}) != nil {
		t.Error("without a URL somebody is let in")
	}
}
