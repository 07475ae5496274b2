package keystone

import (
	"cmp"
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

	"github.com/clonecache/clonecache/plugin/smallfile"
)

// resolved is what an account's configuration and files come to.
type resolved struct {
	options       *gophercloud.AuthOptions
	tls           *tls.Config
	region, iface string // of the services; region "" is any
}

// resolve reads the account's files: clouds.yaml, secrets, certificates.
func (c Config) resolve() (resolved, error) {
	r, err := c.options()
	if err != nil {
		return resolved{}, err
	}
	if c.PasswordFile != "" {
		if r.options.Password, err = readSecret("password_file", c.PasswordFile); err != nil {
			return resolved{}, err
		}
	}
	if c.CAFile != "" {
		if r.tls.RootCAs, err = readCA("ca_file", c.CAFile); err != nil {
			return resolved{}, err
		}
	}
	r.options.IdentityEndpoint = versioned(r.options.IdentityEndpoint)
	r.region = cmp.Or(c.Region, r.region)
	r.iface = cmp.Or(c.Interface, r.iface, Public)
	return r, nil
}

// options are those of the clouds.yaml entry, or of the keys.
func (c Config) options() (resolved, error) {
	if c.Cloud != "" {
		return c.cloudOptions()
	}
	o := &gophercloud.AuthOptions{IdentityEndpoint: c.AuthURL}
	r := resolved{options: o, tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	if c.ApplicationCredentialID != "" {
		secret, err := readSecret("application_credential_secret_file", c.ApplicationCredentialSecretFile)
		o.ApplicationCredentialID, o.ApplicationCredentialSecret = c.ApplicationCredentialID, secret
		return r, err
	}
	o.Username, o.UserID = c.User, c.UserID
	if c.User != "" {
		o.DomainID, o.DomainName = domain(c.UserDomain)
	}
	o.Scope = &gophercloud.AuthScope{ProjectID: c.ProjectID, ProjectName: c.Project}
	if c.Project != "" {
		o.Scope.DomainID, o.Scope.DomainName = domain(c.ProjectDomain)
	}
	return r, nil
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

func readCA(key, path string) (*x509.CertPool, error) {
	pem, err := smallfile.Read(path)
	if err != nil {
		return nil, noTenant("%s: %v: let the daemon's user read it", key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, noTenant("%s: %s holds no certificate: give PEM", key, path)
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
		MaxIdleConnsPerHost:   32, // hits at once: each asks Glance
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}
