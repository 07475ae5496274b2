package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/plugin/smallfile"
)

// TokenAccess is a file with a bearer token, and what its bearer may do.
type TokenAccess struct {
	File string
	Name string // for events. Default: the file's name
	Role Role
}

// CertificateAccess is what the bearer of a client's certificate may do.
type CertificateAccess struct {
	Name string // the common name of its subject
	Role Role
}

// keyring is who may come over TCP. An empty one lets nobody in.
type keyring struct {
	tokens       []key
	certificates map[string]Role
	authorities  *x509.CertPool // that clients' certificates are checked against; nil: none is asked for
	guests       Guests         // nil: there are none
}

type key struct {
	token
	who Identity
}

// readKeyring reads what cfg names.
func readKeyring(cfg ListenConfig) (keyring, error) {
	k := keyring{guests: cfg.Guests}
	all := append([]TokenAccess{{cfg.TokenFile, "token_file", Admin}, {cfg.MetricsTokenFile, "metrics_token_file", monitor}}, cfg.Tokens...)
	for _, t := range all {
		secret, err := readToken(t.File)
		if err != nil {
			return k, err
		}
		if secret == "" {
			continue
		}
		if t.Name == "" {
			t.Name = filepath.Base(t.File)
		}
		if t.Role == monitor && k.knows(secret) {
			continue // its bearer is an admin, who reads metrics too
		}
		if k.knows(secret) {
			return k, fmt.Errorf("read the token: %s holds the same as another file: make one of its own for each", t.File)
		}
		k.tokens = append(k.tokens, key{secret, Identity{t.Name, t.Role}})
	}
	return k.withCertificates(cfg)
}

// CheckListenConfig tells what keeps the tokens and the authority that cfg names from being used.
func CheckListenConfig(cfg ListenConfig) error {
	_, err := readKeyring(cfg)
	return err
}

// knows tells whether a token stands for somebody already.
func (k keyring) knows(secret token) bool {
	_, known := k.bearer(string(secret))
	return known
}

func (k keyring) withCertificates(cfg ListenConfig) (keyring, error) {
	if cfg.ClientCAFile == "" {
		return k, nil
	}
	pem, err := smallfile.Read(cfg.ClientCAFile)
	if err != nil {
		return k, fmt.Errorf("read the authority of clients: %w", err)
	}
	k.authorities = x509.NewCertPool()
	if !k.authorities.AppendCertsFromPEM(pem) {
		return k, fmt.Errorf("read the authority of clients: %s has no PEM certificate in it: name the file with the authority's", cfg.ClientCAFile)
	}
	k.certificates = make(map[string]Role)
	for _, c := range cfg.Certificates {
		k.certificates[c.Name] = c.Role
	}
	return k, nil
}

// lends tells whether somebody who comes may be more than a monitor.
func (k keyring) lends(least Role) bool {
	for _, t := range k.tokens {
		if t.who.Role >= least {
			return true
		}
	}
	return least <= Admin && (len(k.certificates) > 0 || k.guests != nil)
}

// monitors is a keyring of those who may read metrics, and nothing else.
func (k keyring) monitors() keyring {
	var only keyring
	for _, t := range k.tokens {
		if t.who.Role == monitor {
			only.tokens = append(only.tokens, t)
		}
	}
	return only
}

// bearer is whose token it is. All are compared, in a time that depends on none.
func (k keyring) bearer(given string) (who Identity, known bool) {
	for _, t := range k.tokens {
		if t.equals(given) {
			who, known = t.who, true
		}
	}
	return who, known
}

// asks finds out who asks: by his token, or else by his certificate, which TLS has checked. A token that is nobody's
// lets nobody in, whatever else he brings.
func (k keyring) asks(r *http.Request) Identity {
	if given := bearer(r); given != "" {
		who, _ := k.bearer(given)
		return who
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return Identity{}
	}
	name := r.TLS.VerifiedChains[0][0].Subject.CommonName
	return Identity{"certificate " + name, k.certificates[name]}
}

// peerKey finds in a connection's context who is at its other end.
type peerKey struct{}

// withPeer notes whose process opened a unix socket's connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if name, err := peerOf(c); err == nil {
		return context.WithValue(ctx, peerKey{}, name)
	}
	return ctx
}

// peerOf names the user at the other end of a unix socket, by number: to look the name up may ask other hosts.
func peerOf(c net.Conn) (string, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return "", errors.New("no unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return "", err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return "", err
	}
	if failed != nil {
		return "", failed
	}
	return fmt.Sprintf("uid %d", cred.Uid), nil
}

// visitor is who comes where everybody is let in.
func visitor(ctx context.Context) Identity {
	if name, ok := ctx.Value(peerKey{}).(string); ok {
		return Identity{name, Admin}
	}
	return Identity{"anybody on this host", Admin}
}

func bearer(r *http.Request) string {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}
