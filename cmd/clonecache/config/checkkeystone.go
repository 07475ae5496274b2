package config

import (
	"cmp"
	"fmt"
	"net/url"
)

// API says who may use the daemon's own API beside those with tokens and certificates.
type API struct {
	Keystone APIKeystone `toml:"keystone"`
}

// APIKeystone lets in whom Keystone knows, by the roles that they have in the whole cloud or in some projects. AuthURL empty:
// nobody.
type APIKeystone struct {
	AuthURL string `toml:"auth_url"`
	CAFile  Path   `toml:"ca_file"`
	// Projects are the IDs of those whose roles count, beside those of the system.
	Projects []string      `toml:"projects"`
	Roles    KeystoneRoles `toml:"roles"`
}

// KeystoneRoles are Keystone's names of the roles here; "": nobody has it.
type KeystoneRoles struct {
	Reader   string `toml:"reader"`
	Operator string `toml:"operator"`
	Admin    string `toml:"admin"`
}

// keystone checks whom Keystone lets in.
func (c *checker) keystone(cfg *Config) {
	k := &cfg.API.Keystone
	if k.AuthURL == "" {
		if c.set["api"] {
			c.problem("api.keystone.auth_url", "it is missing", "give Keystone's URL, or leave [api.keystone] out")
		}
		return
	}
	k.CAFile = Path(absolute(c.file, string(k.CAFile)))
	u, err := url.Parse(k.AuthURL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https":
		c.problem("api.keystone.auth_url", "not a plain http(s) URL", `write "https://keystone.example.org:5000/v3"`)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.warn("api.keystone.auth_url", "tokens travel there unencrypted, and whoever answers in Keystone's place makes admins", "use https")
	}
	if cmp.Or(k.Roles.Reader, k.Roles.Operator, k.Roles.Admin) == "" {
		c.problem("api.keystone.roles", "no role is given", `write roles = { admin = "admin", reader = "reader" }`)
	}
	seen := map[string]bool{"": true}
	for i, id := range k.Projects {
		if seen[id] {
			c.problem(fmt.Sprintf("api.keystone.projects[%d]", i), fmt.Sprintf("%q is no project's ID, or listed twice", id), "give IDs as `openstack project list` shows them")
		}
		seen[id] = true
	}
}
