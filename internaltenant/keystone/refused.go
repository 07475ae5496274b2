package keystone

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/clonecache/clonecache/internaltenant"
)

// refusal is an error whose sentence stands for itself, since accounts are not the internal tenant's alone.
type refusal struct {
	sentence string
	kind     error // internaltenant.ErrNoTenant or ErrUnavailable
}

func (r *refusal) Error() string { return r.sentence }

func (r *refusal) Unwrap() error { return r.kind }

func noTenant(format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...), internaltenant.ErrNoTenant}
}

func unavailable(what string, err error) error {
	return &refusal{fmt.Sprintf("%s: %v", what, withoutURL(err)), internaltenant.ErrUnavailable}
}

// withoutURL strips what net/http puts around an error.
func withoutURL(err error) error {
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err
}

// refused says what a failed authentication means and what to do. Keystone answers 401 whatever is wrong,
// so that a second one without a project tells a wrong password from a missing role.
func (a *Account) refused(ctx context.Context, identity *gophercloud.ServiceClient, o *gophercloud.AuthOptions, err error) error {
	var status gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &status) {
		if notAnAnswer(err) {
			return unavailable("ask Keystone at "+o.IdentityEndpoint, err)
		}
		return noTenant("the account cannot be used: %v", err)
	}
	switch {
	case status.Actual == http.StatusUnauthorized && o.ApplicationCredentialID != "":
		return noTenant("Keystone does not accept application credential %s: it is unknown or expired, its user is disabled, or the secret in its file is wrong; make a new one with `openstack application credential create`", o.ApplicationCredentialID)
	case status.Actual == http.StatusUnauthorized:
		return a.unauthorized(ctx, identity, o)
	case status.Actual == http.StatusNotFound:
		return noTenant("%s is not Keystone's URL (404): give the one of `openstack endpoint list --service identity`", o.IdentityEndpoint)
	case status.Actual == http.StatusForbidden:
		return noTenant("Keystone refuses user %s (403): the user or the project may be disabled", userOf(o))
	case status.Actual >= 500 || status.Actual == http.StatusTooManyRequests || status.Actual == http.StatusRequestTimeout:
		return unavailable("ask Keystone at "+o.IdentityEndpoint, fmt.Errorf("it answers %d", status.Actual))
	default:
		return noTenant("Keystone at %s answers %d", o.IdentityEndpoint, status.Actual)
	}
}

// notAnAnswer tells an error of the connection from one of the options.
func notAnAnswer(err error) bool {
	var connection *url.Error
	return errors.As(err, &connection) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// unauthorized finds out whether it is the user or the project that Keystone does not accept.
func (a *Account) unauthorized(ctx context.Context, identity *gophercloud.ServiceClient, o *gophercloud.AuthOptions) error {
	user, project := userOf(o), projectOf(o)
	alone := *o
	alone.Scope, alone.TenantID, alone.TenantName = &gophercloud.AuthScope{}, "", ""
	result := tokens.Create(ctx, identity, &alone)
	token, err := result.ExtractTokenID()
	if err != nil || token == "" {
		return noTenant("Keystone does not accept user %s: the password is wrong, or there is no such enabled user in that domain; check user, user_domain and the password's file", user)
	}
	role := fmt.Sprintf("openstack role add --user %s --project %s member", user, project)
	names := projects(ctx, identity, token)
	if len(names) == 0 {
		return noTenant("user %s has no role in project %s, or there is no such project: `%s`", user, project, role)
	}
	return noTenant("user %s has no role in project %s, or there is no such project; it has roles in: %s. `%s`",
		user, project, strings.Join(names, ", "), role)
}

// projects are the names of those in which the token's user has a role; nil where Keystone does not say.
func projects(ctx context.Context, identity *gophercloud.ServiceClient, token string) []string {
	var body struct {
		Projects []struct {
			Name string `json:"name"`
		} `json:"projects"`
	}
	response, err := identity.Get(ctx, identity.ServiceURL("auth", "projects"), &body, &gophercloud.RequestOpts{
		MoreHeaders: map[string]string{"X-Auth-Token": token},
	})
	if err != nil {
		return nil
	}
	_ = response.Body.Close()
	var names []string
	for _, p := range body.Projects {
		names = append(names, p.Name)
	}
	return names
}

func userOf(o *gophercloud.AuthOptions) string {
	if o.Username != "" {
		return o.Username
	}
	return o.UserID
}

func projectOf(o *gophercloud.AuthOptions) string {
	if o.Scope == nil {
		return "(none)"
	}
	if o.Scope.ProjectName != "" {
		return o.Scope.ProjectName
	}
	return o.Scope.ProjectID
}
