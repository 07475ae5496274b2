package kinds

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/plugin/glanceapi"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/glance"
	"github.com/clonecache/clonecache/plugin/oslomsg"
)

// glanceSource has the images of OpenStack's Glance.
type glanceSource struct {
	Endpoint        string `toml:"endpoint"`
	RequireDownload bool   `toml:"require_download"`
	account

	NotificationsURL          string            `toml:"notifications_url"`
	NotificationsPasswordFile config.SecretFile `toml:"notifications_password_file"`
	NotificationsExchange     string            `toml:"notifications_exchange"`
	NotificationsTopic        string            `toml:"notifications_topic"`
}

// newGlanceSource is one with its defaults: the exchange is Glance's own.
func newGlanceSource() *glanceSource {
	return &glanceSource{NotificationsExchange: oslomsg.GlanceExchange, NotificationsTopic: oslomsg.DefaultTopic}
}

// Check implements config.Settings.
func (s *glanceSource) Check(t *config.Table) {
	s.check(t)
	s.checkNotifications(t)
	if s.Endpoint == "" {
		return
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || !isWeb(u) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		t.Problem("endpoint", "not a plain http(s) URL", `write "https://glance.example.org:9292", or leave it out for the one in Keystone's catalog`)
	}
}

var _ Notifying = (*glanceSource)(nil)

// Notifications implements Notifying.
func (s *glanceSource) Notifications() config.Notifications {
	return config.Notifications{URL: s.NotificationsURL, PasswordFile: s.NotificationsPasswordFile, Exchange: s.NotificationsExchange, Topic: s.NotificationsTopic}
}

// checkNotifications checks where it is listened to what Glance says of new images.
func (s *glanceSource) checkNotifications(t *config.Table) {
	t.Secret(&s.NotificationsPasswordFile)
	if s.NotificationsURL == "" {
		for _, key := range []string{"notifications_password_file", "notifications_exchange", "notifications_topic"} {
			if t.Given(key) {
				t.Problem(key, "there is no notifications_url", "give amqp://USER@HOST/VHOST as notifications_url, or leave it out")
			}
		}
		return
	}
	if _, err := oslomsg.ParseAddress(s.NotificationsURL); err != nil {
		t.Problem("notifications_url", err.Error(), "write amqp://USER@HOST:5672/VHOST")
	}
	if what, remedy := config.WarnOfRabbit(s.NotificationsURL); what != "" {
		t.Warn("notifications_url", what, remedy)
	}
	if s.NotificationsPasswordFile == "" {
		t.Problem("notifications_password_file", "there is none", "name the file with the password of the user in notifications_url")
	}
	if s.NotificationsExchange == "" || s.NotificationsTopic == "" {
		t.Problem("notifications_exchange", "it, or notifications_topic, is empty", "leave them out for glance and notifications")
	}
	if !slices.ContainsFunc(t.Config.Follows, func(f config.Follow) bool { return f.Source == t.Name }) {
		t.Warn("notifications_url", "no [[follow]] is about this source, so that nothing comes of what is heard", "add one, or leave it out")
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
func (s *glanceSource) Fronted() string { return s.Endpoint }

// Service implements ImageService.
func (s *glanceSource) Service(name, authURL string) (Service, glanceapi.Keystone, error) {
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
	if s.NotificationsURL != "" {
		t.secrets(map[string]config.SecretFile{"notifications_password_file": s.NotificationsPasswordFile})
	}
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
