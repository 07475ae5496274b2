package keystone

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/internaltenant"
)

func TestAccountAuthenticatesWhenItIsNeeded(t *testing.T) {
	f := newFake(t)
	a := open(t, f.config(t))
	if n := f.count(); n != 0 {
		t.Fatalf("%d logins before anything was asked for", n)
	}
	s, err := a.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.UserID != "u-owner" || s.ProjectID != "p-cache" || s.Admin() || s.Token() != "token-1" {
		t.Errorf("session is %+v of token %s", s, s.Token())
	}
	if _, err := a.Session(t.Context()); err != nil || f.count() != 1 {
		t.Errorf("second session: %v after %d logins, want 1", err, f.count())
	}
}

func TestAccountsByIDOrApplicationCredential(t *testing.T) {
	f := newFake(t)
	f.roles["p"] = []string{"member"}
	secret := secretFile(t, "secret")
	for name, c := range map[string]Config{
		"IDs":        {AuthURL: f.URL + "/v3/", UserID: "u-owner", Project: "cache", PasswordFile: secret},
		"credential": {AuthURL: f.URL + "/v3", ApplicationCredentialID: "app", ApplicationCredentialSecretFile: secret},
		"v2 URL":     {AuthURL: f.URL + "/v2.0", User: "owner", UserDomain: "Users", Project: "cache", ProjectDomain: "default", PasswordFile: secret},
	} {
		s, err := open(t, c).Session(t.Context())
		if err != nil || s.ProjectID != "p-cache" {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestOneAuthenticationForAll(t *testing.T) {
	f := newFake(t)
	a := open(t, f.config(t))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := a.Session(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.count(); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	f := newFake(t)
	now := time.Now()
	c := f.config(t)
	c.Now = func() time.Time { return now }
	a := open(t, c)
	if _, err := a.Session(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(f.valid - early/2)
	if s, err := a.Session(t.Context()); err != nil || s.Token() != "token-2" {
		t.Errorf("session is of %v, %v; want token-2", s, err)
	}
}

func TestRenewTakesTheSecretThatIsInItsFileNow(t *testing.T) {
	f := newFake(t)
	c := f.config(t)
	a := open(t, c)
	first, err := a.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.password = "rotated"
	f.mu.Unlock()
	if _, err := a.Renew(t.Context(), first.Token()); !errors.Is(err, internaltenant.ErrNoTenant) {
		t.Errorf("renew with the old password: %v, want ErrNoTenant", err)
	}
	if err := os.WriteFile(c.PasswordFile, []byte("rotated"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := a.Renew(t.Context(), first.Token())
	if err != nil || second.Token() == first.Token() {
		t.Fatalf("renew with the new password: %v, %v", second, err)
	}
	if third, err := a.Renew(t.Context(), first.Token()); err != nil || third.Token() != second.Token() {
		t.Errorf("renew of a token that was renewed already: %v, %v", third, err)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	f := newFake(t)
	secret, wrong := secretFile(t, "secret"), secretFile(t, "s3cr3t")
	empty := secretFile(t, "")
	for _, c := range []struct {
		name   string
		config Config
		parts  []string
	}{
		{"password", Config{User: "owner", Project: "cache", PasswordFile: wrong}, []string{"user owner", "password is wrong"}},
		{"user", Config{User: "nobody", Project: "cache", PasswordFile: secret}, []string{"user nobody", "no such enabled user"}},
		{"project", Config{User: "owner", Project: "none", PasswordFile: secret}, []string{"project none", "has roles in: cache", "openstack role add"}},
		{"credential", Config{ApplicationCredentialID: "app", ApplicationCredentialSecretFile: wrong}, []string{"application credential app", "create"}},
		{"no file", Config{User: "owner", Project: "cache", PasswordFile: "/does/not/exist"}, []string{"password_file", "/does/not/exist"}},
		{"empty file", Config{User: "owner", Project: "cache", PasswordFile: empty}, []string{"password_file", "is empty"}},
		{"CA", Config{User: "owner", Project: "cache", PasswordFile: secret, CAFile: secret}, []string{"ca_file", "no certificate"}},
		{"cloud", Config{Cloud: "lab", CloudsFile: "/does/not/exist"}, []string{"clouds_file", "/does/not/exist"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config.Cloud == "" {
				c.config.AuthURL = f.URL
			}
			_, err := open(t, c.config).Session(t.Context())
			if !errors.Is(err, internaltenant.ErrNoTenant) {
				t.Errorf("error = %v, want ErrNoTenant", err)
			}
			wants(t, err, c.parts...)
		})
	}
}

func TestKeystoneThatDoesNotAnswerIsUnavailable(t *testing.T) {
	f := newFake(t)
	a := open(t, f.config(t))
	for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		f.mu.Lock()
		f.status = status
		f.mu.Unlock()
		if _, err := a.Session(t.Context()); !errors.Is(err, internaltenant.ErrUnavailable) {
			t.Errorf("status %d: %v, want ErrUnavailable", status, err)
		}
	}
	f.mu.Lock()
	f.status = 0
	f.mu.Unlock()
	if _, err := a.Session(t.Context()); err != nil {
		t.Errorf("after it is back: %v", err)
	}
	f.Close()
	if _, err := open(t, f.config(t)).Session(t.Context()); !errors.Is(err, internaltenant.ErrUnavailable) {
		t.Errorf("closed: %v, want ErrUnavailable", err)
	}
}

func TestWhatIsNotKeystoneIsNamed(t *testing.T) {
	f := newFake(t)
	c := f.config(t)
	c.AuthURL = f.URL + "/dashboard"
	_, err := open(t, c).Session(t.Context())
	wants(t, err, "/dashboard/v3", "not Keystone's URL")
}

func TestEndpoints(t *testing.T) {
	f := newFake(t)
	for _, c := range []struct {
		name, region, iface string
		service             Service
		want                string
	}{
		{"public", "", "", BlockStorage, f.URL + "/v3/p-cache/"},
		{"internal", "lab", Internal, BlockStorage, "http://inside/v3/p-cache/"},
		{"region", "lab", "", Image, f.URL + "/"},
		{"first region", "", "", Image, "http://elsewhere/"},
		{"no such region", "moon", "", Image, ""},
		{"no such interface", "", Admin, Image, ""},
	} {
		config := f.config(t)
		config.Region, config.Interface = c.region, c.iface
		got, err := open(t, config).Endpoint(t.Context(), c.service)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, internaltenant.ErrNoTenant) {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestCloudsFile(t *testing.T) {
	f := newFake(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file := write("clouds.yaml", fmt.Sprintf(`clouds:
  lab:
    region_name: lab
    interface: internal
    auth: {auth_url: %q, username: owner, project_name: cache, user_domain_name: Default, project_domain_name: Default}
`, f.URL))
	write("secure.yaml", "clouds: {lab: {auth: {password: secret}}}\n")
	t.Setenv("OS_CLIENT_CONFIG_FILE", "/does/not/exist")
	t.Setenv("OS_REGION_NAME", "moon")
	for _, name := range []string{"OS_CACERT", "OS_CERT", "OS_KEY", "OS_CLOUD", "OS_INTERFACE", "OS_PASSWORD"} {
		t.Setenv(name, "/does/not/exist")
	}
	a := open(t, Config{Cloud: "lab", CloudsFile: file})
	if got, err := a.Endpoint(t.Context(), BlockStorage); err != nil || got != "http://inside/v3/p-cache/" {
		t.Errorf("endpoint is %q, %v", got, err)
	}
	a = open(t, Config{Cloud: "lab", CloudsFile: file, Interface: Public, Region: "lab", PasswordFile: secretFile(t, "s3cr3t")})
	_, err := a.Session(t.Context())
	wants(t, err, "password is wrong")
	_, err = open(t, Config{Cloud: "none", CloudsFile: file}).Session(t.Context())
	wants(t, err, `cloud "none"`, file)
	_, err = open(t, Config{Cloud: "wrong", CloudsFile: write("broken.yaml", "clouds: {wrong: {verify: s3cr3t}}\n")}).Session(t.Context())
	wants(t, err, `cloud "wrong"`)
}

func TestWhatAnEntryOfCloudsYAMLMustNotSay(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ entry, says string }{
		{"region_name: lab", "no auth_url"},
		{"auth: {username: u}", "no auth_url"},
		{"profile: vendor, auth: {auth_url: http://k}", "names a profile"},
		{"cacert: ca.pem, auth: {auth_url: http://k}", "cacert is no absolute path"},
		{"cacert: /does/not/exist, auth: {auth_url: http://k}", "cacert: open /does/not/exist"},
		{"cert: /does/not/exist, auth: {auth_url: http://k}", "cert and key: "},
	} {
		file := filepath.Join(dir, "clouds.yaml")
		if err := os.WriteFile(file, []byte("clouds: {lab: {"+c.entry+"}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, Config{Cloud: "lab", CloudsFile: file}).Session(t.Context())
		wants(t, err, c.says)
	}
}

// The certificate that an entry names is the one that servers must prove themselves with, whatever the
// environment says.
func TestCertificatesAreThoseOfTheEntry(t *testing.T) {
	f := newFake(t)
	secured := httptest.NewTLSServer(f.Config.Handler)
	defer secured.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	entry := func(more string) Config {
		file := filepath.Join(dir, "clouds.yaml")
		text := fmt.Sprintf("clouds: {lab: {%s auth: {auth_url: %q, user_id: u-owner, password: secret, project_name: cache, project_domain_name: Default}}}\n", more, secured.URL)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Config{Cloud: "lab", CloudsFile: file}
	}
	if _, err := open(t, entry("cacert: "+ca+",")).Session(t.Context()); err != nil {
		t.Errorf("with the server's certificate: %v", err)
	}
	t.Setenv("OS_CACERT", ca)
	_, err := open(t, entry("")).Session(t.Context())
	wants(t, err, "certificate")
}

func TestCinderCallsRenewTheirToken(t *testing.T) {
	f := newFake(t)
	var tokens []string
	cinder := http.NewServeMux()
	cinder.HandleFunc("GET /v3/p-cache/volumes", func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("X-Auth-Token"))
		if len(tokens) == 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"volumes":[]}`)
	})
	keystone := f.Config.Handler
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v3/p-cache") {
			cinder.ServeHTTP(w, r)
			return
		}
		keystone.ServeHTTP(w, r)
	})
	c, err := open(t, f.config(t)).Cinder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Volumes []struct{} }
	response, err := c.Get(t.Context(), c.ServiceURL("volumes"), &body, nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if want := []string{"token-1", "token-2"}; strings.Join(tokens, " ") != strings.Join(want, " ") {
		t.Errorf("Cinder saw tokens %q, want %q", tokens, want)
	}
}

func TestProblemsNameEveryKey(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		keys   string
	}{
		{"nothing", Config{}, "auth_url user project password_file"},
		{"both", Config{AuthURL: "http://k", User: "u", UserID: "i", Project: "p", ProjectID: "i", PasswordFile: "f"}, "user_id project_id"},
		{"beside cloud", Config{Cloud: "c", AuthURL: "http://k", User: "u", Interface: "inner"}, "auth_url user interface"},
		{"credential", Config{AuthURL: "ftp://k", ApplicationCredentialID: "a", Project: "p"}, "auth_url application_credential_secret_file project"},
		{"login in the URL", Config{AuthURL: "http://u:s3cr3t@k", User: "u", Project: "p", PasswordFile: "f"}, "auth_url"},
		{"clouds_file alone", Config{AuthURL: "http://k", CloudsFile: "f", UserID: "u", ProjectID: "p", PasswordFile: "f", UserDomain: "d"}, "clouds_file user_domain"},
		{"good", Config{AuthURL: "http://k", User: "u", Project: "p", PasswordFile: "f"}, ""},
	} {
		var keys []string
		for _, p := range c.config.Problems() {
			keys = append(keys, p.Key)
			wants(t, p, p.Key)
		}
		if got := strings.Join(keys, " "); got != c.keys {
			t.Errorf("%s: problems with %q, want %q", c.name, got, c.keys)
		}
		if _, err := New(c.config); (err == nil) != (c.keys == "") {
			t.Errorf("%s: New: %v", c.name, err)
		}
	}
}

func TestASessionPrintsNoToken(t *testing.T) {
	f := newFake(t)
	s, err := open(t, f.config(t)).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s)} {
		if strings.Contains(text, "token-") || !strings.Contains(text, "owner") {
			t.Errorf("a session prints as %q", text)
		}
	}
}
