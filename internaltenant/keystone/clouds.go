package keystone

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"gopkg.in/yaml.v2"
)

// cloudOptions reads the clouds.yaml entry. gophercloud's own reader would take certificates from OS_CACERT,
// OS_CERT and OS_KEY before those of the entry, and profiles from the user's folders: what the environment
// says plays no part here.
func (c Config) cloudOptions() (resolved, error) {
	entry, err := readCloud(c.CloudsFile, c.Cloud)
	if err != nil {
		return resolved{}, err
	}
	if entry.Profile != "" || entry.Cloud != "" {
		return resolved{}, noTenant("cloud %q in %s names a profile: write what that says into the entry", c.Cloud, c.CloudsFile)
	}
	if entry.AuthInfo == nil || entry.AuthInfo.AuthURL == "" {
		return resolved{}, noTenant("cloud %q in %s has no auth_url: add it", c.Cloud, c.CloudsFile)
	}
	tlsConfig, err := c.cloudTLS(entry)
	if err != nil {
		return resolved{}, err
	}
	return resolved{options: authOptions(entry.AuthInfo), tls: tlsConfig, region: entry.RegionName, iface: cloudInterface(entry)}, nil
}

// readCloud is an entry of clouds.yaml with what secure.yaml beside it says of it, which goes before. The
// error shows nothing that is in the files.
func readCloud(file, name string) (*clouds.Cloud, error) {
	entry, err := readEntry(file, name)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, noTenant("cloud %q is not in %s: add it, or name another", name, file)
	}
	secure := filepath.Join(filepath.Dir(file), "secure.yaml")
	if _, err := os.Stat(secure); errors.Is(err, fs.ErrNotExist) {
		return entry, nil
	}
	more, err := readEntry(secure, name)
	if err != nil || more == nil {
		return entry, err
	}
	text, err := json.Marshal(more) // all its fields are left out when empty
	if err == nil {
		err = json.Unmarshal(text, entry)
	}
	if err != nil {
		return nil, noTenant("cloud %q in %s cannot be added to that of %s: mend the file", name, secure, file)
	}
	return entry, nil
}

// readEntry is nil where the file has no such entry.
func readEntry(file, name string) (*clouds.Cloud, error) {
	if err := readable(file); err != nil {
		return nil, noTenant("clouds_file: %v: let the daemon's user read it, or name another file", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, noTenant("clouds_file: %v: let the daemon's user read it, or name another file", err)
	}
	var all struct {
		Clouds map[string]*clouds.Cloud `yaml:"clouds"`
	}
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, noTenant("cloud %q in %s: %s", name, file, withoutValues(err))
	}
	return all.Clouds[name], nil
}

// withoutValues is a parser's error without what it quotes of the file, which may be a secret.
func withoutValues(err error) string {
	text, _, quoted := strings.Cut(err.Error(), "`")
	if quoted {
		return strings.TrimSpace(text) + " …: mend the file"
	}
	return text
}

// authOptions are who an entry is, and the project it acts in.
func authOptions(a *clouds.AuthInfo) *gophercloud.AuthOptions {
	return &gophercloud.AuthOptions{
		IdentityEndpoint: a.AuthURL,
		Username:         a.Username, UserID: a.UserID, Password: a.Password, TokenID: a.Token,
		DomainID: cmp.Or(a.UserDomainID, a.DomainID), DomainName: cmp.Or(a.UserDomainName, a.DomainName),
		TenantID: a.ProjectID, TenantName: a.ProjectName,
		ApplicationCredentialID: a.ApplicationCredentialID, ApplicationCredentialName: a.ApplicationCredentialName,
		ApplicationCredentialSecret: a.ApplicationCredentialSecret,
		Scope:                       authScope(a),
	}
}

// authScope is nil where the entry says none, as with application credentials.
func authScope(a *clouds.AuthInfo) *gophercloud.AuthScope {
	switch {
	case a.TrustID != "":
		return &gophercloud.AuthScope{TrustID: a.TrustID}
	case a.ProjectID != "":
		return &gophercloud.AuthScope{ProjectID: a.ProjectID}
	case a.ProjectName != "":
		return &gophercloud.AuthScope{
			ProjectName: a.ProjectName,
			DomainID:    cmp.Or(a.ProjectDomainID, a.DomainID), DomainName: cmp.Or(a.ProjectDomainName, a.DomainName),
		}
	}
	return nil
}

// cloudTLS is the entry's, but for the certificate of ca_file.
func (c Config) cloudTLS(entry *clouds.Cloud) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	t.InsecureSkipVerify = entry.Verify != nil && !*entry.Verify
	for key, path := range map[string]string{"cacert": entry.CACertFile, "cert": entry.ClientCertFile, "key": entry.ClientKeyFile} {
		if path != "" && !filepath.IsAbs(path) {
			return nil, noTenant("cloud %q in %s: %s is no absolute path: write it in full", c.Cloud, c.CloudsFile, key)
		}
	}
	if entry.CACertFile != "" && c.CAFile == "" {
		pool, err := readCA("cacert", entry.CACertFile)
		if err != nil {
			return nil, err
		}
		t.RootCAs = pool
	}
	if entry.ClientCertFile == "" && entry.ClientKeyFile == "" {
		return t, nil
	}
	pair, err := tls.LoadX509KeyPair(entry.ClientCertFile, entry.ClientKeyFile)
	if err != nil {
		return nil, noTenant("cloud %q in %s: cert and key: %v: give both, as PEM that the daemon's user may read", c.Cloud, c.CloudsFile, err)
	}
	t.Certificates = []tls.Certificate{pair}
	return t, nil
}

// cloudInterface is which of a service's endpoints an entry wants; "": it does not say.
func cloudInterface(entry *clouds.Cloud) string {
	return strings.TrimSuffix(cmp.Or(entry.EndpointType, entry.Interface), "URL")
}
