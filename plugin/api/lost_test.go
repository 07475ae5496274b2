package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestASocketThatMayNotBeOpened(t *testing.T) {
	c := &Client{where: "unix:///run/c.sock"}
	err := c.lost(t.Context(), &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeSocketForbidden || !strings.Contains(e.Message, "socket_group") || strings.Contains(e.Message, "clonecache serve") {
		t.Errorf("got %v", err)
	}
}

// TestAServerThatIsNotTrusted meets TLS servers, and plain ones, with real handshakes.
func TestAServerThatIsNotTrusted(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	expired := expiredCertificate(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure.StartTLS()
	defer secure.Close()
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{Certificates: []tls.Certificate{expired}}
	old.StartTLS()
	defer old.Close()
	for _, c := range []struct {
		name, url string
		trusted   *x509.Certificate
		code      string
		want      string
	}{
		{"unknown authority", secure.URL, nil, CodeUntrustedServer, "--ca-file"},
		{"another name", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), secure.Certificate(), CodeUntrustedServer, "host name"},
		{"expired", old.URL, old.Certificate(), CodeUntrustedServer, "renew it"},
		{"https to http", strings.Replace(plain.URL, "http:", "https:", 1), nil, CodeBadServerURL, "http://"},
		{"http to https", strings.Replace(secure.URL, "https:", "http:", 1), nil, CodeBadServerURL, "https://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg ClientConfig
			if c.trusted != nil {
				cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
				text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.trusted.Raw})
				if err := os.WriteFile(cfg.CAFile, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			client, err := NewClient(c.url, cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Status(t.Context())
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.want) {
				t.Errorf("got %v, want code %s and %q", err, c.code, c.want)
			}
		})
	}
}

// expiredCertificate is a certificate of 127.0.0.1 that signed itself, an hour too old.
func expiredCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
