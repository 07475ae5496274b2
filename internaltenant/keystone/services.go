package keystone

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
)

// Service is a kind of service in Keystone's catalog.
type Service string

// The services that clonecache uses.
const (
	BlockStorage Service = "block-storage" // Cinder, version 3
	Image        Service = "image"         // Glance
)

// types are the words for a service, in the order of preference.
func (s Service) types() []string {
	if s == BlockStorage {
		return []string{"volumev3", "block-storage", "block-store"}
	}
	return []string{string(s)}
}

// Endpoint is a service's URL, ending in a slash. internaltenant.ErrNoTenant: the catalog has none for the
// account's region and interface. Else errors as Session's.
func (a *Account) Endpoint(ctx context.Context, s Service) (string, error) {
	session, err := a.Session(ctx)
	if err != nil {
		return "", err
	}
	region, iface := session.region, session.iface
	for _, name := range s.types() {
		for _, entry := range session.endpoints {
			if entry.Type != name {
				continue
			}
			for _, e := range entry.Endpoints {
				if e.Interface == iface && (region == "" || e.Region == region || e.RegionID == region) {
					return strings.TrimRight(e.URL, "/") + "/", nil
				}
			}
		}
	}
	where := "any region"
	if region != "" {
		where = "region " + region
	}
	return "", noTenant("Keystone's catalog has no %s endpoint of interface %s in %s: check region and interface, or `openstack catalog list`", s, iface, where)
}

// Admin tells whether the session's roles include one that administers the cloud.
func (s *Session) Admin() bool { return slices.Contains(s.Roles, "admin") }

// Transport is how the account's services are reached, with its certificates. It asks nobody anything.
// internaltenant.ErrNoTenant: the account's files cannot be used.
func (a *Account) Transport() (http.RoundTripper, error) {
	a.mu.Lock()
	known := a.transport
	a.mu.Unlock()
	if known != nil {
		return known, nil
	}
	r, err := a.config.resolve()
	if err != nil {
		return nil, err
	}
	return a.connections(r.tls), nil
}

// Cinder is the block storage service for this account. Each call of the client has the account's timeout,
// and authenticates again where its token is not accepted any more.
func (a *Account) Cinder(ctx context.Context) (*gophercloud.ServiceClient, error) {
	endpoint, err := a.Endpoint(ctx, BlockStorage)
	if err != nil {
		return nil, err
	}
	session, err := a.Session(ctx)
	if err != nil {
		return nil, err
	}
	p, err := a.provider(session)
	if err != nil {
		return nil, err
	}
	return &gophercloud.ServiceClient{ProviderClient: p, Endpoint: endpoint, Type: "volumev3"}, nil
}

// provider is the client that all calls share. It begins with the session's token; later ones come to it
// when a service does not accept its own any more.
func (a *Account) provider(session *Session) (*gophercloud.ProviderClient, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil {
		return a.client, nil
	}
	p := &gophercloud.ProviderClient{HTTPClient: httpClient(a.transport, a.config.Timeout)}
	p.UseTokenLock()
	p.UserAgent.Prepend("clonecache")
	p.ReauthFunc = func(ctx context.Context) error {
		renewed, err := a.Renew(ctx, p.Token())
		if err != nil {
			return err
		}
		return p.SetTokenAndAuthResult(renewed)
	}
	if err := p.SetTokenAndAuthResult(session); err != nil {
		return nil, err
	}
	a.client = p
	return p, nil
}

// ExtractTokenID lets a session be a gophercloud.AuthResult.
func (s *Session) ExtractTokenID() (string, error) { return s.token, nil }
