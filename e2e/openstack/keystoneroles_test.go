//go:build openstack

package openstack

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// Keystone's own tokens say who may do what, with the roles of the system and of a project that is named; those of another
// project give nothing.
func TestKeystonesRolesCountHere(t *testing.T) {
	url := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
	named, foreign := login(t, "demo"), login(t, "other")
	d := harness.New(t, harness.Config{Listen: "tcp" + url[len("http"):], Tables: tables(t, nil) + fmt.Sprintf(
		"[api.keystone]\nauth_url = %q\nprojects = [%q]\nroles = { admin = \"admin\", reader = \"member\" }\n", lab.url(0, "/v3"), named.project)})
	(&world{daemon: d}).sameInstallation(t) // else it would hold the pools, and no world after it had them
	d.Start(t)
	for _, test := range []struct {
		who          string
		token        string
		method, path string
		want         int
	}{
		{"the system's admin", systemToken(t, "admin"), "POST", "/v1/prune", http.StatusOK},
		{"an admin of a project", login(t, "admin").token, "GET", "/v1/entries", http.StatusForbidden},
		{"a member of the named project", named.token, "GET", "/v1/entries", http.StatusOK},
		{"a member of the named project", named.token, "POST", "/v1/prune", http.StatusForbidden},
		{"a member of another project", foreign.token, "GET", "/v1/entries", http.StatusForbidden},
		{"nobody", "gAAAAABnobodys", "GET", "/v1/entries", http.StatusUnauthorized},
	} {
		status, says, _ := (&cloud{token: test.token}).try(t, call{test.method, url + test.path, nil}, nil)
		if status != test.want {
			t.Errorf("%s, %s %s: %d %s, want %d", test.who, test.method, test.path, status, says, test.want)
		}
	}
}

// systemToken asks Keystone for a token of a user in the whole cloud.
func systemToken(tb testing.TB, user string) string {
	tb.Helper()
	body := object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{
			"user": object{"name": user, "domain": object{"id": "default"}, "password": "secret"}}},
		"scope": object{"system": object{"all": true}},
	}}
	return (&cloud{}).must(tb, call{"POST", lab.url(0, "/v3/auth/tokens"), body}, nil).Get("X-Subject-Token")
}
