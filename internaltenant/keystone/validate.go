package keystone

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
)

// ErrToken: Keystone does not know the token, or it is not valid any more.
var ErrToken = errors.New("the token is not valid")

// Bearer is whose a token is. It is not changed afterwards.
type Bearer struct {
	UserID    string
	UserName  string
	ProjectID string // "": the token is of no project
	System    bool   // the token is of the whole cloud: its roles are such that count everywhere
	Roles     []string
	ExpiresAt time.Time
}

// Has tells whether the bearer has one of the roles. As to Keystone and to the services' policies, upper and lower case are one.
func (b Bearer) Has(roles ...string) bool {
	return slices.ContainsFunc(b.Roles, func(r string) bool {
		return slices.ContainsFunc(roles, func(wanted string) bool { return strings.EqualFold(r, wanted) })
	})
}

// Tokens asks Keystone whose tokens are, each with its own right: so it needs no account that may see others' ones.
// It may be used from several goroutines, and keeps nothing.
type Tokens struct {
	account *Account
	url     string
}

// Tokens asks the Keystone at a URL, with the account's certificates; "": the account's own.
func (a *Account) Tokens(url string) *Tokens { return &Tokens{account: a, url: url} }

// TokensAt asks the Keystone at a URL, whose certificate is signed by an authority of a PEM file; "": by one of the host's. No
// account is needed for that.
func TokensAt(url, caFile string) *Tokens {
	return (&Account{config: Config{AuthURL: url, CAFile: caFile, Timeout: patience, Now: time.Now}}).Tokens("")
}

// URL is Keystone's, as those are told who bring no token; "" where the account's files cannot be read.
func (t *Tokens) URL() string {
	endpoint, _, err := t.server()
	if err != nil {
		return ""
	}
	return endpoint[:len(endpoint)-1]
}

// server is Keystone's URL with its version and a slash, and how it is reached.
func (t *Tokens) server() (endpoint string, transport http.RoundTripper, err error) {
	if t.url != "" {
		transport, err = t.account.Transport()
		return versioned(t.url), transport, err
	}
	r, err := t.account.config.resolve()
	if err != nil {
		return "", nil, err
	}
	return r.options.IdentityEndpoint, t.account.connections(r.tls), nil
}

// Answer asks for Keystone's version, which takes no token. internaltenant.ErrUnavailable: no Keystone answers there.
// internaltenant.ErrNoTenant: the account's files cannot be used.
func (t *Tokens) Answer(ctx context.Context) error {
	endpoint, transport, err := t.server()
	if err != nil {
		return err
	}
	var body struct {
		Version struct {
			ID string `json:"id"`
		} `json:"version"`
	}
	response, err := t.account.identity(endpoint, transport).Get(ctx, endpoint, &body, nil)
	if err == nil {
		err = response.Body.Close()
	}
	if err == nil && body.Version.ID == "" {
		err = errors.New("it is none")
	}
	if err != nil {
		return unavailable("ask the Keystone at "+endpoint, err)
	}
	return nil
}

// Validate asks Keystone whose the token is. ErrToken: nobody's. internaltenant.ErrUnavailable: Keystone does not
// answer. internaltenant.ErrNoTenant: the account's files cannot be used.
func (t *Tokens) Validate(ctx context.Context, token string) (Bearer, error) {
	endpoint, transport, err := t.server()
	if err != nil {
		return Bearer{}, err
	}
	identity := t.account.identity(endpoint, transport)
	identity.SetToken(token)
	result := tokens.Get(ctx, identity, token)
	if result.Err == nil {
		return bearerOf(result)
	}
	var status gophercloud.ErrUnexpectedResponseCode
	if errors.As(result.Err, &status) {
		switch status.Actual {
		case http.StatusUnauthorized, http.StatusNotFound, http.StatusForbidden, http.StatusBadRequest:
			return Bearer{}, ErrToken
		}
		result.Err = fmt.Errorf("it answers %d", status.Actual) // and not whatever else, which is logged
	}
	return Bearer{}, unavailable("ask Keystone at "+endpoint+" whose a token is", result.Err)
}

// bearerOf reads Keystone's answer.
func bearerOf(result tokens.GetResult) (Bearer, error) {
	token, err := result.ExtractToken()
	if err != nil {
		return Bearer{}, unavailable("read Keystone's answer", err)
	}
	var body struct {
		Project tokens.Project `json:"project"`
		User    tokens.User    `json:"user"`
		Roles   []tokens.Role  `json:"roles"`
		System  struct {
			All bool `json:"all"`
		} `json:"system"`
	}
	if err := result.ExtractInto(&body); err != nil {
		return Bearer{}, unavailable("read Keystone's answer", err)
	}
	b := Bearer{UserID: body.User.ID, UserName: body.User.Name, System: body.System.All, ProjectID: body.Project.ID, ExpiresAt: token.ExpiresAt}
	for _, r := range body.Roles {
		b.Roles = append(b.Roles, r.Name)
	}
	return b, nil
}
