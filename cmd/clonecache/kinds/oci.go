package kinds

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/oci"
)

// ociSource has the disk images in a registry of containers.
type ociSource struct {
	URL          string            `toml:"url"`
	CAFile       config.Path       `toml:"ca_file"`
	User         string            `toml:"user"`
	PasswordFile config.SecretFile `toml:"password_file"`
}

// Check implements config.Settings.
func (s *ociSource) Check(t *config.Table) {
	t.Absolute(&s.CAFile)
	t.Secret(&s.PasswordFile)
	u, err := url.Parse(s.URL)
	if err != nil || !isWeb(u) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		t.Problem("url", "not a plain http(s) URL", `write "https://quay.io/containerdisks"`)
	}
	switch {
	case s.User == "" && s.PasswordFile != "":
		t.Problem("user", "there is a password without a user", "give user beside password_file")
	case s.User != "" && s.PasswordFile == "":
		t.Problem("password_file", "there is a user without a password", "name the file that holds the password")
	}
	if s.User != "" && strings.HasPrefix(s.URL, "http://") {
		t.Warn("url", "the login goes over the network in the clear", "use https")
	}
}

// Open implements Source.
func (s *ociSource) Open(name string, f Fetching) (imagesource.Source, error) {
	return s.open(name, f)
}

func (s *ociSource) open(name string, f Fetching) (*oci.Source, error) {
	return oci.New(oci.Config{Name: name, URL: s.URL, CAFile: string(s.CAFile), User: s.User, PasswordFile: string(s.PasswordFile), Stall: f.Stall})
}

// Try implements Source.
func (s *ociSource) Try(ctx context.Context, t *Part) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !t.secrets(map[string]config.SecretFile{"password_file": s.PasswordFile}) {
		return
	}
	source, err := s.open(t.Name, Fetching{})
	if err != nil {
		t.Problem("", err, "correct that key")
		return
	}
	err = source.Check(ctx)
	switch {
	case errors.Is(err, imagesource.ErrCertificate):
		t.Problem("ca_file", err, "")
	case errors.Is(err, imagesource.ErrLogin):
		t.Problem("user", err, "give user and password_file")
	case err != nil:
		t.Problem("url", err, "check the URL and the network")
	default:
		t.Fact("image source %s: the registry at %s answers", t.Name, s.URL)
	}
}

// Remote implements Source.
func (*ociSource) Remote() bool { return true }

// CheckFollow implements config.Followed.
func (*ociSource) CheckFollow(f config.Follow) (what, remedy string) {
	if f.Image == "" {
		return "a registry's images are followed by a tag", `give image = "NAME:TAG"`
	}
	return "", ""
}
