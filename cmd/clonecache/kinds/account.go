package kinds

import (
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant/keystone"
)

// account is a user in OpenStack: an entry of clouds.yaml, or keys.
type account struct {
	Cloud                           string            `toml:"cloud"`
	CloudsFile                      config.Path       `toml:"clouds_file"`
	AuthURL                         string            `toml:"auth_url"`
	User                            string            `toml:"user"`
	UserID                          string            `toml:"user_id"`
	UserDomain                      string            `toml:"user_domain"`
	Project                         string            `toml:"project"`
	ProjectID                       string            `toml:"project_id"`
	ProjectDomain                   string            `toml:"project_domain"`
	PasswordFile                    config.SecretFile `toml:"password_file"`
	ApplicationCredentialID         string            `toml:"application_credential_id"`
	ApplicationCredentialSecretFile config.SecretFile `toml:"application_credential_secret_file"`
	Region                          string            `toml:"region"`
	Interface                       string            `toml:"interface"`
	CAFile                          config.Path       `toml:"ca_file"`
}

// keystone is the account as package keystone takes it.
func (a account) keystone() keystone.Config {
	return keystone.Config{
		Cloud: a.Cloud, CloudsFile: string(a.CloudsFile), AuthURL: a.AuthURL,
		User: a.User, UserID: a.UserID, UserDomain: a.UserDomain,
		Project: a.Project, ProjectID: a.ProjectID, ProjectDomain: a.ProjectDomain, PasswordFile: string(a.PasswordFile),
		ApplicationCredentialID:         a.ApplicationCredentialID,
		ApplicationCredentialSecretFile: string(a.ApplicationCredentialSecretFile),
		Region:                          a.Region, Interface: a.Interface, CAFile: string(a.CAFile),
	}
}

// check checks the keys and makes paths absolute.
func (a *account) check(t *config.Table) {
	t.Absolute(&a.CloudsFile)
	t.Absolute(&a.CAFile)
	t.Secret(&a.PasswordFile)
	t.Secret(&a.ApplicationCredentialSecretFile)
	for _, p := range a.keystone().Problems() {
		t.Problem(p.Key, p.What, p.Remedy)
	}
}

// secrets checks the files that the account's secrets are in.
func (a account) secrets(t *Part) bool {
	return t.secrets(map[string]config.SecretFile{
		"password_file": a.PasswordFile, "application_credential_secret_file": a.ApplicationCredentialSecretFile,
	})
}
