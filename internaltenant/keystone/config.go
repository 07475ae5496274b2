// Package keystone is an account in OpenStack: who it is, how it proves that, and where the services are
// that it may use. It owns no quota and no volume.
//
// Nothing is kept on disk. Passwords and secrets are read from their files at each authentication and are
// not kept afterwards, so that a secret which was changed is found; neither they nor tokens appear in
// errors.
package keystone

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Config names an account: by an entry of clouds.yaml, or by keys. Beside Cloud, only PasswordFile,
// Region, Interface and CAFile may be given; they go before what the entry says.
type Config struct {
	Cloud      string // entry of clouds.yaml
	CloudsFile string // default: /etc/openstack/clouds.yaml; a secure.yaml beside it is read too

	AuthURL       string // of Keystone; /v3 may be left out
	User          string // name, with UserDomain
	UserID        string // in place of User
	UserDomain    string // name or ID; default "Default"
	Project       string // name, with ProjectDomain
	ProjectID     string // in place of Project
	ProjectDomain string // name or ID; default "Default"
	PasswordFile  string // its last line break is left out

	// An application credential carries user and project in itself.
	ApplicationCredentialID         string
	ApplicationCredentialSecretFile string

	Region    string // of the services; default: any
	Interface string // "public" (default), "internal" or "admin"
	CAFile    string // PEM; default: the host's

	// Timeout bounds one call. Default 30 s.
	Timeout time.Duration
	// Now is the clock that tokens expire by. Default time.Now.
	Now func() time.Time
}

// DefaultCloudsFile is where entries are looked for.
const DefaultCloudsFile = "/etc/openstack/clouds.yaml"

// The interfaces that a service's endpoint may be of.
const (
	Public   = "public"
	Internal = "internal"
	Admin    = "admin"
)

// Problem is a key that is wrong, by its name in the configuration.
type Problem struct {
	Key    string
	What   string
	Remedy string
}

func (p Problem) Error() string { return p.Key + ": " + p.What + ": " + p.Remedy }

// Problems are all that is wrong in a Config by itself. It reads no file.
func (c Config) Problems() []Problem {
	var ps []Problem
	wrong := func(key, what, remedy string) { ps = append(ps, Problem{key, what, remedy}) }
	if c.Cloud != "" {
		c.besideCloud(wrong)
	} else {
		c.keys(wrong)
	}
	switch c.Interface {
	case "", Public, Internal, Admin:
	default:
		wrong("interface", fmt.Sprintf("%q is no interface", c.Interface), `use "public", "internal" or "admin"`)
	}
	return ps
}

// besideCloud refuses keys that say what the entry of clouds.yaml says already.
func (c Config) besideCloud(wrong func(key, what, remedy string)) {
	for _, k := range []struct{ key, value string }{
		{"auth_url", c.AuthURL}, {"user", c.User}, {"user_id", c.UserID}, {"user_domain", c.UserDomain},
		{"project", c.Project}, {"project_id", c.ProjectID}, {"project_domain", c.ProjectDomain},
		{"application_credential_id", c.ApplicationCredentialID},
		{"application_credential_secret_file", c.ApplicationCredentialSecretFile},
	} {
		if k.value != "" {
			wrong(k.key, "cloud says it already", "remove one of the two")
		}
	}
}

// keys checks an account that is given by keys alone.
func (c Config) keys(wrong func(key, what, remedy string)) {
	if c.AuthURL == "" {
		wrong("auth_url", "it is missing", `give Keystone's URL, or cloud = "NAME" of clouds.yaml`)
	} else if err := checkURL(c.AuthURL); err != nil {
		wrong("auth_url", err.Error(), `write "https://keystone.example.org:5000/v3"`)
	}
	if c.CloudsFile != "" {
		wrong("clouds_file", "there is no cloud", "name the entry with cloud, or remove it")
	}
	if c.ApplicationCredentialID != "" || c.ApplicationCredentialSecretFile != "" {
		c.applicationCredential(wrong)
		return
	}
	one(wrong, "user", c.User, "user_id", c.UserID)
	one(wrong, "project", c.Project, "project_id", c.ProjectID)
	if c.PasswordFile == "" {
		wrong("password_file", "it is missing", "name the file that holds the user's password")
	}
	if c.UserDomain != "" && c.UserID != "" {
		wrong("user_domain", "user_id needs none", "remove it")
	}
	if c.ProjectDomain != "" && c.ProjectID != "" {
		wrong("project_domain", "project_id needs none", "remove it")
	}
}

func (c Config) applicationCredential(wrong func(key, what, remedy string)) {
	if c.ApplicationCredentialID == "" {
		wrong("application_credential_id", "it is missing", "give the ID that belongs to the secret")
	}
	if c.ApplicationCredentialSecretFile == "" {
		wrong("application_credential_secret_file", "it is missing", "name the file that holds the secret")
	}
	for _, k := range []struct{ key, value string }{
		{"user", c.User}, {"user_id", c.UserID}, {"user_domain", c.UserDomain}, {"project", c.Project},
		{"project_id", c.ProjectID}, {"project_domain", c.ProjectDomain}, {"password_file", c.PasswordFile},
	} {
		if k.value != "" {
			wrong(k.key, "the application credential carries it", "remove it")
		}
	}
}

// one wants either a name or an ID.
func one(wrong func(key, what, remedy string), nameKey, name, idKey, id string) {
	switch {
	case name == "" && id == "":
		wrong(nameKey, "it is missing", "give a name, or "+idKey)
	case name != "" && id != "":
		wrong(idKey, nameKey+" says it already", "remove one of the two")
	}
}

// checkURL takes an http(s) URL without a login, which errors and logs would show.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return errors.New("not an http(s) URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("it carries more than a host and a path")
	}
	return nil
}
