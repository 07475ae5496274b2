package kinds

import (
	"strings"
	"testing"
)

// What gives access is refused where it would mean nothing, or two things.
func TestAccessThatMeansNothingIsRefused(t *testing.T) {
	const tls = "[tls]\ncert_file = \"c\"\nkey_file = \"k\"\n"
	for _, tt := range []struct{ name, text, key, says string }{
		{"no file", "[[token]]\nrole = \"reader\"\n", "token[0].file", "no file"},
		{"no role", "[[token]]\nfile = \"t\"\n", "token[0].role", "no role"},
		{"an unknown role", "[[token]]\nfile = \"t\"\nrole = \"root\"\n", "token[0].role", "root"},
		{"one token of two roles", "[[token]]\nfile = \"t\"\nrole = \"reader\"\n[[token]]\nfile = \"t\"\nrole = \"admin\"\n", "token[1].file", "another role already"},
		{"a certificate without an authority", tls + "[[certificate]]\nname = \"a\"\nrole = \"admin\"\n", "certificate[0]", "authority"},
		{"an authority without TLS", "[tls]\nclient_ca_file = \"ca\"\n", "tls.client_ca_file", "TLS"},
		{"a webhook without a secret", "[[webhook]]\nname = \"a\"\nurl = \"https://a/\"\n", "webhook[0].secret_file", "none"},
		{"a webhook to nowhere", "[[webhook]]\nname = \"a\"\nurl = \"ftp://a/\"\nsecret_file = \"s\"\n", "webhook[0].url", "no URL"},
		{"a kind that there is not", "[[webhook]]\nname = \"a\"\nurl = \"https://a/\"\nsecret_file = \"s\"\nkinds = [\"hits\"]\n", "webhook[0].kinds[0]", "hits"},
		{"a password in a URL", "[notifications]\nurl = \"amqp://a:b@c/\"\npassword_file = \"p\"\n", "notifications.url", "password"},
		{"no events to send", "events_max = 0\n[notifications]\nurl = \"amqp://a@c/\"\npassword_file = \"p\"\n", "events_max", "no event is kept"},
		{"a Keystone that is nowhere", "[api.keystone]\nroles = { admin = \"admin\" }\n", "api.keystone.auth_url", "missing"},
		{"a Keystone with a login", "[api.keystone]\nauth_url = \"https://a:b@c/\"\nroles = { admin = \"admin\" }\n", "api.keystone.auth_url", "plain"},
		{"a Keystone of no role", "[api.keystone]\nauth_url = \"https://c/\"\n", "api.keystone.roles", "no role"},
		{"a role that there is not", "[api.keystone]\nauth_url = \"https://c/\"\nroles = { root = \"admin\" }\n", "api.keystone.roles.root", ""},
		{"a project without a name", "[api.keystone]\nauth_url = \"https://c/\"\nroles = { admin = \"admin\" }\nprojects = [\"\"]\n", "api.keystone.projects[0]", "no project"},
		{"two certificates of one name", tls + "client_ca_file = \"ca\"\n[[certificate]]\nname = \"a\"\nrole = \"admin\"\n[[certificate]]\nname = \"a\"\nrole = \"reader\"\n", "certificate[1].name", "another one's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := All().Parse([]byte(tt.text), "/etc/clonecache.toml")
			if err == nil || !strings.Contains(err.Error(), tt.key) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want a problem with %s that says %q", err, tt.key, tt.says)
			}
		})
	}
}
