package kinds

import (
	"context"
	"errors"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// webSource has the files of a web server as images.
type webSource struct {
	URL          string            `toml:"url"`
	CAFile       config.Path       `toml:"ca_file"`
	Proxy        string            `toml:"proxy"`
	User         string            `toml:"user"`
	PasswordFile config.SecretFile `toml:"password_file"`
	TokenFile    config.SecretFile `toml:"token_file"`
	Redirects    []string          `toml:"redirects"`
	staleness
}

// Check implements config.Settings.
func (s *webSource) Check(t *config.Table) {
	t.Absolute(&s.CAFile)
	t.Secret(&s.PasswordFile)
	t.Secret(&s.TokenFile)
	s.url(t)
	s.login(t)
	s.check(t)
	if err := imagesource.CheckProxy(s.Proxy); err != nil {
		t.Problem("proxy", err.Error(), `write "http://proxy.example.org:3128", or "none"; a proxy with a login goes into the environment (https_proxy)`)
	}
	if err := imagesource.CheckRedirects(s.Redirects); err != nil {
		t.Problem("redirects", err.Error(), `list host names, "*.example.org", addresses or networks; "*" is every host with a public address`)
	}
}

// login checks that there is a user with a password, or a token, or neither.
func (s *webSource) login(t *config.Table) {
	switch {
	case s.TokenFile != "" && (s.User != "" || s.PasswordFile != ""):
		t.Problem("token_file", "there is a user or a password too", "give token_file, or user and password_file")
	case s.User == "" && s.PasswordFile != "":
		t.Problem("user", "there is a password without a user", "give user beside password_file")
	case s.User != "" && s.PasswordFile == "":
		t.Problem("password_file", "there is a user without a password", "name the file that holds the password")
	case strings.Contains(s.User, ":"):
		t.Problem("user", "it contains ':', which ends a user's name", "give the name alone")
	}
	if (s.User != "" || s.TokenFile != "") && strings.HasPrefix(s.URL, "http://") {
		t.Warn("url", "the login goes over the network in the clear", "use https")
	}
}

// url checks the server's address. It may carry no password: it is shown in logs and reports.
func (s *webSource) url(t *config.Table) {
	const key = "url"
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || !isWeb(u):
		t.Problem(key, "not an http(s) URL", `write "https://images.example.org/debian"`)
	case u.User != nil:
		t.Problem(key, "it carries a user or a password", "remove them, and set user and password_file")
	case u.RawQuery != "" || u.Fragment != "":
		t.Problem(key, "it has a query or a fragment", "an image's name is appended to the URL, so it must end in a path; a query belongs to an image's own URL")
	}
}

// isWeb tells whether a URL names a web server.
func isWeb(u *url.URL) bool { return u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") }

// Open implements Source.
func (s *webSource) Open(name string, f Fetching) (imagesource.Source, error) {
	return s.open(name, f)
}

func (s *webSource) open(name string, f Fetching) (*imagesource.HTTP, error) {
	return imagesource.NewHTTP(imagesource.HTTPConfig{
		Name: name, URL: s.URL, CAFile: string(s.CAFile), Proxy: s.Proxy, User: s.User, PasswordFile: string(s.PasswordFile),
		TokenFile: string(s.TokenFile), Redirects: s.Redirects, ServeStale: time.Duration(s.ServeStale),
		Stall: f.Stall, Warn: f.Warn,
	})
}

// Try implements Source: it asks the server as requests would, through its proxy, with its certificates and login.
func (s *webSource) Try(ctx context.Context, t *Part) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !t.secrets(map[string]config.SecretFile{"password_file": s.PasswordFile, "token_file": s.TokenFile}) {
		return
	}
	source, err := s.open(t.Name, Fetching{})
	if err != nil {
		t.Problem("", err, "correct that key")
		return
	}
	status, err := source.Check(ctx)
	switch {
	case errors.Is(err, imagesource.ErrCertificate):
		t.Problem("ca_file", err, "")
	case errors.Is(err, imagesource.ErrLogin):
		t.Problem("user", err, "give user and password_file, or token_file; a proxy's login goes into the environment (https_proxy)")
	case errors.Is(err, imagesource.ErrRefused):
		t.Problem("redirects", err, "")
	case err != nil:
		t.Problem("url", err, "check the URL, the network, and the proxy")
	default:
		t.Fact("image source %s: %s answers (%s)", t.Name, s.URL, status)
	}
}

// Remote implements Source.
func (*webSource) Remote() bool { return true }

// CheckFollow implements config.Followed.
func (*webSource) CheckFollow(f config.Follow) (what, remedy string) {
	if what, remedy = byPattern(f); what != "" {
		return what, remedy
	}
	if folder, _ := path.Split(f.Pattern); strings.ContainsAny(folder, `*?[\`) {
		return "a web server has no list of folders: only the last part of the pattern may have wildcards", "give a rule for each folder"
	}
	return "", ""
}

// Serves implements config.Web, by the host, as requests are.
func (s *webSource) Serves(image string) bool {
	base, err := url.Parse(s.URL)
	u, wrong := url.Parse(image)
	return err == nil && wrong == nil && imagesource.SameHost(base, u)
}
