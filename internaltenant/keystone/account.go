package keystone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"golang.org/x/sync/singleflight"
)

// Account is one user in one project. It authenticates when it is first needed, again before its token
// expires, and when a service says that the token is not valid any more. It may be used from several
// goroutines; they share one authentication.
type Account struct {
	config Config
	logins singleflight.Group

	mu        sync.Mutex // guards what follows
	session   *Session
	transport http.RoundTripper
	client    *gophercloud.ProviderClient // of Cinder's calls
}

// Session is what one authentication brought. It is not changed afterwards.
type Session struct {
	token     string
	expires   time.Time
	endpoints []tokens.CatalogEntry
	// region and iface choose among them; region "" is any.
	region, iface string

	UserID, UserName       string
	ProjectID, ProjectName string
	Roles                  []string
}

// Token is what requests carry in X-Auth-Token. It must not be stored or logged.
func (s *Session) Token() string { return s.token }

// String names the session's user and project, and not its token.
func (s *Session) String() string {
	return fmt.Sprintf("user %s in project %s", s.UserName, s.ProjectName)
}

// GoString is String.
func (s *Session) GoString() string { return s.String() }

// early is how long before its end a token counts as expired.
const early = 30 * time.Second

// New checks config, naming every key that is wrong, and asks nobody anything.
func New(config Config) (*Account, error) {
	var problems []error
	for _, p := range config.Problems() {
		problems = append(problems, p)
	}
	if config.Timeout < 0 {
		problems = append(problems, errors.New("timeout may not be negative"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("openstack account: %w", err)
	}
	if config.Timeout == 0 {
		config.Timeout = 30 * time.Second
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.CloudsFile == "" {
		config.CloudsFile = DefaultCloudsFile
	}
	return &Account{config: config}, nil
}

// Session returns a valid session, and authenticates where there is none.
// internaltenant.ErrUnavailable: Keystone does not answer. internaltenant.ErrNoTenant: it refuses, or the
// account's files cannot be used; the message says what to do.
func (a *Account) Session(ctx context.Context) (*Session, error) {
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	if s != nil && a.config.Now().Before(s.expires.Add(-early)) {
		return s, nil
	}
	return a.login(ctx)
}

// Project is the ID of the account's project. Errors as Session's.
func (a *Account) Project(ctx context.Context) (string, error) {
	s, err := a.Session(ctx)
	if err != nil {
		return "", err
	}
	return s.ProjectID, nil
}

// Renew returns another session than the one with this token, which a service did not accept. Where
// somebody else has renewed it meanwhile, that one is returned. Errors as Session's.
func (a *Account) Renew(ctx context.Context, rejected string) (*Session, error) {
	a.mu.Lock()
	if a.session != nil && a.session.token == rejected {
		a.session = nil
	}
	a.mu.Unlock()
	return a.Session(ctx)
}

// login authenticates for all who want it now. It does not end with any of them, so it has a limit.
func (a *Account) login(ctx context.Context) (*Session, error) {
	result := a.logins.DoChan("", func() (any, error) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*a.config.Timeout)
		defer cancel()
		s, err := a.authenticate(limited)
		if err != nil {
			return nil, err
		}
		a.mu.Lock()
		a.session = s
		a.mu.Unlock()
		return s, nil
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		s, _ := r.Val.(*Session)
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// authenticate reads the secrets and asks Keystone for a token.
func (a *Account) authenticate(ctx context.Context) (*Session, error) {
	r, err := a.config.resolve()
	if err != nil {
		return nil, err
	}
	identity := a.identity(r.options.IdentityEndpoint, a.connections(r.tls))
	result := tokens.Create(ctx, identity, r.options)
	if result.Err != nil {
		return nil, a.refused(ctx, identity, r.options, result.Err)
	}
	return sessionOf(result, r)
}

// connections is how everything is reached. Certificates are those of the first authentication.
func (a *Account) connections(c *tls.Config) http.RoundTripper {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.transport == nil {
		a.transport = newTransport(c)
	}
	return a.transport
}

// identity is Keystone as a service that needs no token.
func (a *Account) identity(endpoint string, transport http.RoundTripper) *gophercloud.ServiceClient {
	p := &gophercloud.ProviderClient{
		IdentityEndpoint: endpoint,
		HTTPClient:       httpClient(transport, a.config.Timeout),
	}
	p.UserAgent.Prepend("clonecache")
	return &gophercloud.ServiceClient{ProviderClient: p, Endpoint: endpoint, Type: "identity"}
}

// httpClient follows no redirect, which would carry secrets elsewhere.
func httpClient(transport http.RoundTripper, timeout time.Duration) http.Client {
	return http.Client{Transport: transport, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// sessionOf reads Keystone's answer.
func sessionOf(result tokens.CreateResult, r resolved) (*Session, error) {
	token, err := result.ExtractToken()
	if err != nil {
		return nil, unavailable("read Keystone's answer", err)
	}
	var body struct {
		Project tokens.Project        `json:"project"`
		User    tokens.User           `json:"user"`
		Roles   []tokens.Role         `json:"roles"`
		Catalog []tokens.CatalogEntry `json:"catalog"`
	}
	if err := result.ExtractInto(&body); err != nil {
		return nil, unavailable("read Keystone's answer", err)
	}
	s := &Session{
		token: token.ID, expires: token.ExpiresAt, endpoints: body.Catalog, region: r.region, iface: r.iface,
		UserID: body.User.ID, UserName: body.User.Name, ProjectID: body.Project.ID, ProjectName: body.Project.Name,
	}
	for _, r := range body.Roles {
		s.Roles = append(s.Roles, r.Name)
	}
	if s.token == "" || s.ProjectID == "" {
		return nil, noTenant("the token of user %s is of no project: name one with project or project_id", s.UserName)
	}
	return s, nil
}
