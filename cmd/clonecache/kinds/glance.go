package kinds

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/plugin/glanceapi"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/glance"
)

// glanceSource has the images of OpenStack's Glance.
type glanceSource struct {
	Endpoint        string `toml:"endpoint"`
	RequireDownload bool   `toml:"require_download"`
	account
}

// Check implements config.Settings.
func (s *glanceSource) Check(t *config.Table) {
	s.check(t)
	if s.Endpoint == "" {
		return
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || !isWeb(u) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		t.Problem("endpoint", "not a plain http(s) URL", `write "https://glance.example.org:9292", or leave it out for the one in Keystone's catalog`)
	}
}

// Open implements Source.
func (s *glanceSource) Open(name string, f Fetching) (imagesource.Source, error) {
	return s.open(name, f)
}

func (s *glanceSource) open(name string, f Fetching) (*glance.Source, error) {
	account, err := keystone.New(s.keystone())
	if err != nil {
		return nil, fmt.Errorf("image source %s: %w", name, err)
	}
	return glance.New(glance.Config{Name: name, Endpoint: s.Endpoint, Account: glanceAccount{account}, Stall: f.Stall, RequireDownload: s.RequireDownload})
}

var _ ImageService = (*glanceSource)(nil)

// Fronted implements config.Fronted.
func (*glanceSource) Fronted() {}

// Service implements ImageService.
func (s *glanceSource) Service(name, authURL string) (glanceapi.Glance, glanceapi.Keystone, error) {
	account, err := keystone.New(s.keystone())
	if err != nil {
		return nil, nil, fmt.Errorf("image source %s: %w", name, err)
	}
	source, err := glance.New(glance.Config{Name: name, Endpoint: s.Endpoint, Account: glanceAccount{account}})
	return source, account.Tokens(authURL), err
}

// Try implements Source.
func (s *glanceSource) Try(ctx context.Context, t *Part) {
	s.secrets(t)
	source, err := s.open(t.Name, Fetching{})
	if err != nil {
		t.Problem("", err, "")
		return
	}
	where, err := source.Check(ctx)
	if err != nil {
		t.Problem("", err, "")
		return
	}
	t.Fact("image source %s: Glance at %s answers", t.Name, where)
}

// Remote implements Source.
func (*glanceSource) Remote() bool { return true }

// CheckFollow implements config.Followed.
func (*glanceSource) CheckFollow(f config.Follow) (what, remedy string) {
	key, _, is := strings.Cut(f.Property, "=")
	if is && (&glance.Source{}).CheckMatch(imagesource.Match{Property: f.Property}) != nil && key != "" {
		return fmt.Sprintf("%q is no property of an image's own", key), "name one that whoever uploads images sets, such as os_distro"
	}
	return "", ""
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
