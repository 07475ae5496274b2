package keystone

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
)

// resolve reads the account's files: clouds.yaml, secrets, certificates.
func (c Config) resolve() (*gophercloud.AuthOptions, *tls.Config, error) {
	options, tlsConfig, err := c.options()
	if err != nil {
		return nil, nil, err
	}
	if c.PasswordFile != "" {
		if options.Password, err = readSecret("password_file", c.PasswordFile); err != nil {
			return nil, nil, err
		}
	}
	if c.CAFile != "" {
		if tlsConfig.RootCAs, err = readCA(c.CAFile); err != nil {
			return nil, nil, err
		}
	}
	options.IdentityEndpoint = versioned(options.IdentityEndpoint)
	return options, tlsConfig, nil
}

// options are those of the clouds.yaml entry, or of the keys.
func (c Config) options() (*gophercloud.AuthOptions, *tls.Config, error) {
	if c.Cloud != "" {
		return c.cloudOptions()
	}
	o := &gophercloud.AuthOptions{IdentityEndpoint: c.AuthURL}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ApplicationCredentialID != "" {
		secret, err := readSecret("application_credential_secret_file", c.ApplicationCredentialSecretFile)
		o.ApplicationCredentialID, o.ApplicationCredentialSecret = c.ApplicationCredentialID, secret
		return o, tlsConfig, err
	}
	o.Username, o.UserID = c.User, c.UserID
	if c.User != "" {
		o.DomainID, o.DomainName = domain(c.UserDomain)
	}
	o.Scope = &gophercloud.AuthScope{ProjectID: c.ProjectID, ProjectName: c.Project}
	if c.Project != "" {
		o.Scope.DomainID, o.Scope.DomainName = domain(c.ProjectDomain)
	}
	return o, tlsConfig, nil
}

// domain takes a name or an ID: an ID is 32 hex digits, or "default".
func domain(text string) (id, name string) {
	switch {
	case text == "":
		return "default", ""
	case text == "default" || domainID.MatchString(text):
		return text, ""
	}
	return "", text
}

var domainID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// cloudOptions reads clouds.yaml. What the environment says plays no part.
func (c Config) cloudOptions() (*gophercloud.AuthOptions, *tls.Config, error) {
	if err := readable(c.CloudsFile); err != nil {
		return nil, nil, noTenant("clouds_file: %v: let the daemon's user read it, or name another file", err)
	}
	o, _, tlsConfig, err := clouds.Parse(clouds.WithCloudName(c.Cloud), clouds.WithLocations(c.CloudsFile),
		clouds.WithRegion(""), clouds.WithEndpointType(""), clouds.WithCACertPath(c.CAFile))
	if err != nil {
		return nil, nil, noTenant("cloud %q in %s: %s", c.Cloud, c.CloudsFile, withoutValues(err))
	}
	if o.IdentityEndpoint == "" {
		return nil, nil, noTenant("cloud %q in %s has no auth_url: add it", c.Cloud, c.CloudsFile)
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	tlsConfig.MinVersion = max(tlsConfig.MinVersion, tls.VersionTLS12)
	return &o, tlsConfig, nil
}

// withoutValues is a parser's error without what it quotes of the file, which may be a secret.
func withoutValues(err error) string {
	text, _, quoted := strings.Cut(err.Error(), "`")
	if quoted {
		return strings.TrimSpace(text) + " …: mend the file"
	}
	return text
}

// placed reads region and interface of the clouds.yaml entry, where the keys do not say them.
func (c Config) placed() (region, iface string) {
	region, iface = c.Region, c.Interface
	if c.Cloud != "" && (region == "" || iface == "") {
		_, eo, _, err := clouds.Parse(clouds.WithCloudName(c.Cloud), clouds.WithLocations(c.CloudsFile),
			clouds.WithRegion(region), clouds.WithEndpointType(iface))
		if err == nil {
			region, iface = eo.Region, string(eo.Availability)
		}
	}
	if iface == "" {
		iface = Public
	}
	return region, iface
}

// readSecret reads a file that holds one secret. The error never shows what is in it.
func readSecret(key, path string) (string, error) {
	if err := readable(path); err != nil {
		return "", noTenant("%s: %v: let the daemon's user read it", key, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", noTenant("%s: %v: let the daemon's user read it", key, err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", noTenant("%s: %s is empty: write the secret into it", key, path)
	}
	return secret, nil
}

// readable tells why a file cannot be read; secrets are small.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const most = 1 << 20
	if !info.Mode().IsRegular() || info.Size() > most {
		return &fs.PathError{Op: "read", Path: path, Err: errors.New("not a small file")}
	}
	return nil
}

func readCA(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, noTenant("ca_file: %v: let the daemon's user read it", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, noTenant("ca_file: %s holds no certificate: give PEM", path)
	}
	return pool, nil
}

// versioned is Keystone's URL with its version and a slash at the end.
func versioned(url string) string {
	url = strings.TrimRight(url, "/")
	if strings.HasSuffix(url, "/v3") {
		return url + "/"
	}
	return strings.TrimSuffix(url, "/v2.0") + "/v3/"
}

func newTransport(c *tls.Config) http.RoundTripper {
	return &http.Transport{
		TLSClientConfig:       c,
		DisableCompression:    true,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}
