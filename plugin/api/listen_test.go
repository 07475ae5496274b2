package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/api"
)

func TestASocketHasItsModeAndGoesWithItsDaemon(t *testing.T) {
	path := filepath.Join(shortDir(t), "deep", "er", "cc.sock")
	for name, mode := range map[string]fs.FileMode{"default": 0, "private": 0o600} {
		t.Run(name, func(t *testing.T) {
			listeners, err := api.Listen(t.Context(), []string{"unix://" + path}, api.ListenConfig{SocketMode: mode})
			if err != nil {
				t.Fatal(err)
			}
			want := mode
			if want == 0 {
				want = 0o660
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("socket = %v, %v, want mode %v", info, err, want)
			}
			if err := listeners[0].Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after Close: %v, want it gone", err)
			}
		})
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(shortDir(t), "cc.sock")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	listeners, err := api.Listen(t.Context(), []string{"unix://" + path}, api.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer listeners[0].Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestALiveSocketIsLeftAlone(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	_, err := api.Listen(t.Context(), []string{"unix://" + d.socket}, api.ListenConfig{})
	if !errors.Is(err, api.ErrListening) {
		t.Errorf("error = %v, want ErrListening", err)
	}
	if err := d.client.Ready(t.Context()); err != nil {
		t.Errorf("the first daemon: %v", err)
	}
}

func TestCloseLeavesASuccessorsSocket(t *testing.T) {
	path := filepath.Join(shortDir(t), "cc.sock")
	listeners, err := api.Listen(t.Context(), []string{"unix://" + path}, api.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	if err := listeners[0].Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the successor's socket: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := shortDir(t)
	plain, token, short := filepath.Join(dir, "file"), filepath.Join(dir, "token"), filepath.Join(dir, "short")
	for file, content := range map[string]string{plain: "x", token: "0123456789abcdef", short: "tiny"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, url, says string
		cfg             api.ListenConfig
	}{
		{"no scheme", "/run/x.sock", "must be unix", api.ListenConfig{}},
		{"another scheme", "http://127.0.0.1:0", "must be unix", api.ListenConfig{}},
		{"relative socket", "unix://run/x.sock", "must be unix", api.ListenConfig{}},
		{"no port", "tcp://127.0.0.1", "must be unix", api.ListenConfig{}},
		{"a file is in the way", "unix://" + plain, "no socket", api.ListenConfig{}},
		{"too long a path", "unix:///" + strings.Repeat("d", 120), "shorter", api.ListenConfig{}},
		{"an unknown group", "unix://" + dir + "/g", "group", api.ListenConfig{SocketGroup: "no-such-group-here"}},
		{"loopback without a token", "tcp://127.0.0.1:0", "token", api.ListenConfig{}},
		{"every address without TLS", "tcp://:0", "TLS and a token", api.ListenConfig{TokenFile: token, InsecureLoopback: true}},
		{"another host's reach without TLS", "tcp://0.0.0.0:0", "TLS and a token", api.ListenConfig{TokenFile: token}},
		{"too short a token", "tcp://127.0.0.1:0", "16 characters", api.ListenConfig{TokenFile: short}},
		{"no token file", "tcp://127.0.0.1:0", "token", api.ListenConfig{TokenFile: filepath.Join(dir, "none")}},
		{"half of a certificate", "tcp://127.0.0.1:0", "certificate", api.ListenConfig{TLSCert: token}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			listeners, err := api.Listen(t.Context(), []string{tt.url}, tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Listen = %v, %v, want an error that says %q", listeners, err, tt.says)
			}
			if err != nil && (strings.Contains(err.Error(), "0123456789abcdef") || strings.Contains(err.Error(), "tiny")) {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

func TestOneBadAddressFreesTheOthers(t *testing.T) {
	path := filepath.Join(shortDir(t), "cc.sock")
	if _, err := api.Listen(t.Context(), []string{"unix://" + path, "tcp://127.0.0.1:0"}, api.ListenConfig{}); err == nil {
		t.Fatal("Listen succeeded, want an error")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the first socket: %v, want it gone", err)
	}
}

func writeToken(t *testing.T, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTCPAsksForItsToken(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	right, wrong := writeToken(t, "correct-horse-battery"), writeToken(t, "incorrect-horse-battery")
	url := serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{TokenFile: right})
	for _, tt := range []struct{ name, file, code string }{
		{"none", "", "unauthorized"}, {"wrong", wrong, "unauthorized"}, {"right", right, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := api.NewClient(url, api.ClientConfig{TokenFile: tt.file})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Backends(t.Context())
			if tt.code == "" && err != nil {
				t.Errorf("error = %v", err)
			}
			if tt.code != "" {
				if e := apiError(t, err); e.Code != tt.code || e.Status != 401 {
					t.Errorf("error = %+v", e)
				}
			}
			if err := client.Ready(t.Context()); err != nil {
				t.Errorf("readyz: %v", err)
			}
		})
	}
	if log := d.log.String(); strings.Contains(log, "horse") {
		t.Errorf("the log shows a token: %q", log)
	}
}

func TestOpenLoopbackAnswersToItsOwnNamesOnly(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	url := serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{InsecureLoopback: true})
	tests := []struct {
		name, host, origin string
		status             int
	}{
		{"its address", "", "", 200},
		{"localhost", "localhost:1", "", 200},
		{"another name", "evil.example:80", "", 403},
		{"a page of another site", "", "https://evil.example", 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/prune", nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.host != "" {
				req.Host = tt.host
			}
			if tt.origin != "" {
				req.Header.Set("Origin", tt.origin)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status = %d, want %d", resp.StatusCode, tt.status)
			}
		})
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestTLSWithAToken(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	token := writeToken(t, "correct-horse-battery")
	cert, key := selfSigned(t)
	url := serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{TLSCert: cert, TLSKey: key, TokenFile: token})
	if !strings.HasPrefix(url, "https://") {
		t.Errorf("URL = %q, want https", url)
	}
	client, err := api.NewClient(url, api.ClientConfig{TokenFile: token, CAFile: cert})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Backends(t.Context()); err != nil {
		t.Errorf("with the CA: %v", err)
	}
	stranger, err := api.NewClient(url, api.ClientConfig{TokenFile: token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Backends(t.Context()); err == nil {
		t.Error("a client that does not know the certificate got an answer")
	}
}
