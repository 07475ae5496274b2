package config

import (
	"fmt"
	"net/url"

	"github.com/clonecache/clonecache/internaltenant/keystone"
)

// Account is a user in OpenStack: an entry of clouds.yaml, or keys.
type Account struct {
	Cloud                           string     `toml:"cloud"`
	CloudsFile                      Path       `toml:"clouds_file"`
	AuthURL                         string     `toml:"auth_url"`
	User                            string     `toml:"user"`
	UserID                          string     `toml:"user_id"`
	UserDomain                      string     `toml:"user_domain"`
	Project                         string     `toml:"project"`
	ProjectID                       string     `toml:"project_id"`
	ProjectDomain                   string     `toml:"project_domain"`
	PasswordFile                    SecretFile `toml:"password_file"`
	ApplicationCredentialID         string     `toml:"application_credential_id"`
	ApplicationCredentialSecretFile SecretFile `toml:"application_credential_secret_file"`
	Region                          string     `toml:"region"`
	Interface                       string     `toml:"interface"`
	CAFile                          Path       `toml:"ca_file"`
}

// Keystone is the account as package keystone takes it.
func (a Account) Keystone() keystone.Config {
	return keystone.Config{
		Cloud: a.Cloud, CloudsFile: string(a.CloudsFile), AuthURL: a.AuthURL,
		User: a.User, UserID: a.UserID, UserDomain: a.UserDomain,
		Project: a.Project, ProjectID: a.ProjectID, ProjectDomain: a.ProjectDomain, PasswordFile: string(a.PasswordFile),
		ApplicationCredentialID:         a.ApplicationCredentialID,
		ApplicationCredentialSecretFile: string(a.ApplicationCredentialSecretFile),
		Region:                          a.Region, Interface: a.Interface, CAFile: string(a.CAFile),
	}
}

// openstackTenant checks the account that owns image-volumes in Cinder.
func (c *checker) openstackTenant(t *InternalTenant) {
	if !c.set["internal_tenant.project_id"] { // the default is the local tenant's
		t.ProjectID = ""
	}
	if !c.set["internal_tenant.user_id"] {
		t.UserID = ""
	}
	c.account("internal_tenant", &t.Account)
}

// account checks an account's keys and makes its paths absolute.
func (c *checker) account(at string, a *Account) {
	a.CloudsFile = Path(absolute(c.file, string(a.CloudsFile)))
	a.CAFile = Path(absolute(c.file, string(a.CAFile)))
	a.PasswordFile = SecretFile(absolute(c.file, string(a.PasswordFile)))
	a.ApplicationCredentialSecretFile = SecretFile(absolute(c.file, string(a.ApplicationCredentialSecretFile)))
	for _, p := range a.Keystone().Problems() {
		c.problem(at+"."+p.Key, p.What, p.Remedy)
	}
}

// glance checks a source of kind "glance".
func (c *checker) glance(at string, s *ImageSource) {
	c.account(at, &s.Account)
	if s.Endpoint == "" {
		return
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		c.problem(at+".endpoint", "not a plain http(s) URL", `write "https://glance.example.org:9292", or leave it out for the one in Keystone's catalog`)
	}
}

// imageVolumes checks where a backend's image-volumes are, and fills the default in.
func (c *checker) imageVolumes(at string, b *Backend, tenant string) {
	if b.ImageVolumes == "" {
		b.ImageVolumes = ImageVolumesOutside
		if tenant == "openstack" && b.Kind == "rbd" {
			b.ImageVolumes = ImageVolumesCinder
		}
	}
	if b.Kind != "rbd" { // these keys are refused already
		return
	}
	c.oneOf(at+".image_volumes", b.ImageVolumes, ImageVolumesCinder, ImageVolumesOutside)
	switch {
	case b.ImageVolumes != ImageVolumesCinder:
		if b.VolumeType != "" {
			c.problem(at+".volume_type", "its image-volumes are outside of Cinder", `remove it, or set image_volumes = "cinder" and [internal_tenant] kind = "openstack"`)
		}
	case tenant != "openstack":
		c.problem(at+".image_volumes", "there is no Cinder", `set [internal_tenant] kind = "openstack", or use "outside"`)
	case b.VolumeType == "":
		c.problem(at+".volume_type", "it is missing", `name the Cinder volume type whose volumes land in this pool, or set image_volumes = "outside"`)
	case b.Namespace != "":
		c.problem(at+".namespace", "Cinder makes volumes in no namespace", `remove it, or set image_volumes = "outside"`)
	}
}

// volumeTypes refuses two backends whose image-volumes Cinder could put on either.
func (c *checker) volumeTypes(backends []Backend) {
	taken := make(map[string]string)
	for i, b := range backends {
		if b.VolumeType == "" {
			continue
		}
		if other := taken[b.VolumeType]; other != "" {
			c.problem(fmt.Sprintf("backend[%d].volume_type", i), fmt.Sprintf("%q is that of backend %s already", b.VolumeType, other),
				"give each backend a volume type of its own")
		}
		taken[b.VolumeType] = b.Name
	}
}
