package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// bearers are tokens by their roles, and a listener that knows them.
type bearers struct {
	url    string
	tokens map[api.Role]string
}

func startBearers(t *testing.T, d *daemon) bearers {
	t.Helper()
	b := bearers{tokens: map[api.Role]string{api.Reader: "token-of-the-reader", api.Operator: "token-of-the-operator", api.Admin: "token-of-the-admin"}}
	var cfg api.ListenConfig
	for role, secret := range b.tokens {
		cfg.Tokens = append(cfg.Tokens, api.TokenAccess{File: writeToken(t, secret), Name: "the-" + role.String(), Role: role})
	}
	b.url = serve(t, d.server, "tcp://127.0.0.1:0", cfg)
	return b
}

// ask sends a request with a token and is what it was answered.
func (b bearers) ask(t *testing.T, pattern, token string) (status int, body string) {
	t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	for _, wild := range []string{"{id}", "{loan}", "{volume}", "{backend}"} {
		path = strings.ReplaceAll(path, wild, "e1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, b.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return answerTo(t, req)
}

// answerTo is what a request is answered.
func answerTo(t *testing.T, req *http.Request) (status int, body string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// Each route lets those in who have its role, and nobody else. The routes are those of the server's own table, without
// which none is served.
func TestEachRouteAsksForItsRole(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	b := startBearers(t, d)
	mutating := 0
	for pattern, least := range api.LeastRole() {
		if pattern == "/" || strings.HasSuffix(pattern, "/ui/login") {
			continue
		}
		changes := !strings.HasPrefix(pattern, "GET ")
		if changes {
			mutating++
		}
		for who, token := range map[api.Role]string{api.Nobody: "", api.Reader: b.tokens[api.Reader], api.Operator: b.tokens[api.Operator], api.Admin: b.tokens[api.Admin]} {
			status, body := b.ask(t, pattern, token)
			refused := status == http.StatusUnauthorized && strings.Contains(body, `"unauthorized"`) || status == http.StatusForbidden && strings.Contains(body, `"role_too_low"`)
			if isPage(pattern) { // which answers with a page, and leads to the login
				refused = status == http.StatusUnauthorized || strings.Contains(body, "needs the role") || strings.Contains(body, `name="token"`)
			}
			if refused != (who < least) {
				t.Errorf("%s as %s: got %d %s, want refused: %v", pattern, who, status, body, who < least)
			}
		}
		if status, _ := b.ask(t, pattern, "token-of-nobody-at-all"); least > api.Nobody && status != http.StatusUnauthorized && !isPage(pattern) {
			t.Errorf("%s with a wrong token: got %d", pattern, status)
		}
		if changes && least <= api.Reader && pattern != "POST /ui/logout" {
			t.Errorf("%s changes something, and a reader may do it", pattern)
		}
	}
	if mutating < 20 {
		t.Errorf("only %d routes change something", mutating)
	}
	for _, a := range fake.acts {
		if a.Who == "the-reader" || a.Who == "" {
			t.Errorf("a reader, or nobody, did %+v", a)
		}
	}
}

func isPage(pattern string) bool { return strings.Contains(pattern, " /ui") }

// What somebody changed is told with his name and what he asked for; a refused change, and a look, are not.
func TestWhoDidWhatIsNoted(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	b := startBearers(t, d)
	for _, pattern := range []string{"GET /v1/entries", "POST /v1/entries/{id}/pin", "DELETE /v1/hosts/none"} {
		b.ask(t, pattern, b.tokens[api.Operator])
	}
	want := plugin.Act{Who: "the-operator", What: "pin-entry /v1/entries/e1/pin", EntryID: "e1"}
	if len(fake.acts) != 1 || fake.acts[0] != want {
		t.Errorf("got %+v, want %+v alone", fake.acts, want)
	}
	if _, err := d.client.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if last := fake.acts[len(fake.acts)-1]; !strings.HasPrefix(last.Who, "uid ") || last.What != "prune /v1/prune" {
		t.Errorf("over the socket: got %+v, want the user's number", last)
	}
}

// An act on an entry has the whole ID, though who asked gave a part of it: what happened to an entry is found by that.
func TestAnActNamesTheWholeEntry(t *testing.T) {
	fake := newFake()
	const id = "0197c2f4-57d1-7a01"
	fake.entries = []plugin.EntryView{{ID: id, State: "ready"}}
	d := startDaemon(t, fake, api.ServerConfig{})
	b := startBearers(t, d)
	for _, pattern := range []string{"POST /v1/entries/0197c2f4/pin", "POST /v1/entries/0197c2f4/revalidate", "DELETE /v1/entries/0197c2f4"} {
		if status, body := b.ask(t, pattern, b.tokens[api.Operator]); status != http.StatusOK {
			t.Fatalf("%s: %d %s", pattern, status, body)
		}
		if last := fake.acts[len(fake.acts)-1]; last.EntryID != id {
			t.Errorf("%s: got %+v, want entry %s", pattern, last, id)
		}
	}
}

// authority signs certificates of clients.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{t: t, key: key, cert: &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}}
	a.file, _ = a.sign(a.cert, key)
	return a
}

// sign writes a certificate and its key.
func (a authority) sign(c *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func (a authority) client(name string, until time.Time) (certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, key)
}

// A certificate's bearer may do what its name may; one that has expired, that another authority signed, or whose name
// is not listed, lets nobody in.
func TestAClientsCertificateIsItsRole(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	ca, stranger := newAuthority(t), newAuthority(t)
	serverCert, serverKey := selfSigned(t)
	url := serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{TLSCert: serverCert, TLSKey: serverKey, ClientCAFile: ca.file,
		Certificates: []api.CertificateAccess{{Name: "watcher", Role: api.Reader}, {Name: "boss", Role: api.Admin}}})
	later := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		name, subject string
		ca            authority
		until         time.Time
		looks, prunes string // the errors' codes
	}{
		{"a reader's", "watcher", ca, later, "", "role_too_low"},
		{"an admin's", "boss", ca, later, "", ""},
		{"one of no role", "somebody", ca, later, "unauthorized", "unauthorized"},
		{"an expired one", "boss", ca, time.Now().Add(-time.Hour), api.CodeCertificateRefused, api.CodeCertificateRefused},
		{"another authority's", "boss", stranger, later, api.CodeCertificateRefused, api.CodeCertificateRefused},
		{"none", "", ca, later, "unauthorized", "unauthorized"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := api.ClientConfig{CAFile: serverCert}
			if tt.subject != "" {
				cfg.CertFile, cfg.KeyFile = tt.ca.client(tt.subject, tt.until)
			}
			client, err := api.NewClient(url, cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, looked := client.Backends(t.Context())
			_, pruned := client.Prune(t.Context())
			if code(t, looked) != tt.looks || code(t, pruned) != tt.prunes {
				t.Errorf("looks: %v, prunes: %v; want %q, %q", looked, pruned, tt.looks, tt.prunes)
			}
		})
	}
	for _, a := range fake.acts {
		if a.Who != "certificate boss" {
			t.Errorf("got %+v, want the admin's alone", a)
		}
	}
}

// code is an error's code, "" for none.
func code(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e := apiError(t, err)
	if e.Code == api.CodeDaemonUnreachable && strings.Contains(e.Message, "ended the connection") {
		return api.CodeCertificateRefused // the end of the connection overtook the reason for it
	}
	return e.Code
}

// The real cache keeps who did what among its events.
func TestTheRealPluginKeepsWhoDidWhat(t *testing.T) {
	d := startDaemon(t, api.ServiceOf(openPlugin(t, nil)), api.ServerConfig{})
	b := startBearers(t, d)
	if status, body := b.ask(t, "POST /v1/prune", b.tokens[api.Operator]); status != http.StatusOK {
		t.Fatalf("prune: %d %s", status, body)
	}
	events, err := d.client.Events(t.Context(), api.EventsRequest{Kinds: []plugin.EventKind{plugin.EventActed}})
	if err != nil || len(events) != 1 || events[0].Who != "the-operator" || events[0].Detail != "prune /v1/prune" {
		t.Errorf("got %+v, %v, want the operator's act", events, err)
	}
}

// One file may be for the API and for metrics, as it might before there were roles; else a token has one role.
func TestATokenOfTwoFiles(t *testing.T) {
	file := writeToken(t, "token-of-somebody")
	for name, test := range map[string]struct {
		cfg  api.ListenConfig
		good bool
	}{
		"the API and metrics": {api.ListenConfig{TokenFile: file, MetricsTokenFile: file}, true},
		"two roles":           {api.ListenConfig{TokenFile: file, Tokens: []api.TokenAccess{{File: file, Role: api.Reader}}}, false},
		"metrics and a role":  {api.ListenConfig{MetricsTokenFile: file, Tokens: []api.TokenAccess{{File: file, Role: api.Reader}}}, false},
	} {
		if err := api.CheckListenConfig(test.cfg); (err == nil) != test.good {
			t.Errorf("%s: got %v", name, err)
		}
	}
	d := startDaemon(t, newFake(), api.ServerConfig{})
	b := bearers{url: serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{TokenFile: file, MetricsTokenFile: file})}
	for _, pattern := range []string{"GET /metrics", "DELETE /v1/queue"} {
		if status, body := b.ask(t, pattern, "token-of-somebody"); status != http.StatusOK {
			t.Errorf("%s: %d %s", pattern, status, body)
		}
	}
}
