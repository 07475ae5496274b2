package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
)

// ErrListening: another daemon answers on the socket or port.
var ErrListening = errors.New("another daemon listens there")

// ListenConfig says how listeners are secured. Zero fields have the documented defaults.
type ListenConfig struct {
	SocketMode  os.FileMode // of unix sockets. Default: 0660
	SocketGroup string      // a name or a number. Default: the process's
	// TLSCert and TLSKey are PEM files; with them all of TCP is TLS.
	TLSCert string
	TLSKey  string
	// TokenFile holds the bearer token that TCP asks for.
	TokenFile string
	// MetricsTokenFile holds a token that lets its bearer read /metrics, on every TCP listener, and do nothing else.
	// "": there is none.
	MetricsTokenFile string
	// Tokens are more of them, each with its role; that of TokenFile is an admin's.
	Tokens []TokenAccess
	// ClientCAFile has the PEM certificates of the authority that signed clients' ones. With it TLS takes these, and
	// Certificates says what their bearers may do. "": no client's certificate is asked for.
	ClientCAFile string
	Certificates []CertificateAccess
	// Guests are let in by tokens that are not the daemon's, in X-Auth-Token. nil: nobody is.
	Guests Guests
	// InsecureLoopback lets TCP on a loopback address do without token and TLS: everybody on this host
	// may then use the cache.
	InsecureLoopback bool
}

// Listener is where the server listens, and what it asks of those who come there.
type Listener struct {
	net.Listener
	// URL is the address, with the port that was bound.
	URL string

	keys     keyring
	open     bool // whoever comes is let in
	only     bool // /metrics and the probes alone are served here
	loopback bool // an insecure one, for names of this host only
}

// Listen listens on all urls, or on none: unix:///path or tcp://host:port. A unix socket's directory is
// created, and a socket that a dead daemon left is replaced; it is reached by whom its mode and group
// let. TCP needs a token, and TLS too unless the address is loopback; InsecureLoopback lets loopback do
// without both. ErrListening; other errors name the url and what to set.
func Listen(ctx context.Context, urls []string, cfg ListenConfig) ([]*Listener, error) {
	if len(urls) == 0 {
		return nil, errors.New("listen: no address is configured")
	}
	return listenAll(ctx, urls, cfg, false)
}

// ListenMetrics listens on all urls, or on none, for those who read /metrics and the probes: nothing else is served
// there. Where other hosts reach it, it needs a token; without TLS that is MetricsTokenFile's alone, since what else lets
// somebody in may do more, and would be read by others on its way. On loopback it needs none. A unix socket is as with Listen. No url is no listener.
func ListenMetrics(ctx context.Context, urls []string, cfg ListenConfig) ([]*Listener, error) {
	return listenAll(ctx, urls, cfg, true)
}

func listenAll(ctx context.Context, urls []string, cfg ListenConfig, metricsOnly bool) ([]*Listener, error) {
	keys, err := readKeyring(cfg)
	if err != nil {
		return nil, err
	}
	certs, err := readCertificates(cfg)
	if err != nil {
		return nil, err
	}
	var all []*Listener
	for _, text := range urls {
		l, err := listen(ctx, text, listening{cfg, keys, certs, metricsOnly})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s: %w", text, err), closeAll(all))
		}
		l.only = metricsOnly
		all = append(all, l)
	}
	return all, nil
}

func closeAll(listeners []*Listener) error {
	var problems []error
	for _, l := range listeners {
		problems = append(problems, l.Close())
	}
	return errors.Join(problems...)
}

// listening is a ListenConfig with its files read.
type listening struct {
	ListenConfig
	keys  keyring
	certs []tls.Certificate // none: no TLS
	only  bool              // for /metrics
}

// readCertificates reads the one that is configured, if there is one.
func readCertificates(cfg ListenConfig) ([]tls.Certificate, error) {
	if cfg.TLSCert == "" && cfg.TLSKey == "" {
		return []tls.Certificate{}, nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("read the TLS certificate and key: %w", err)
	}
	return []tls.Certificate{cert}, nil
}

func listen(ctx context.Context, text string, cfg listening) (*Listener, error) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("must be unix:///path or tcp://host:port")
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return listenUnix(ctx, u.Path, cfg)
	case u.Scheme == "tcp" && u.Port() != "" && u.Path == "":
		return listenTCP(ctx, u, cfg)
	default:
		return nil, errors.New("must be unix:///path or tcp://host:port")
	}
}

func listenTCP(ctx context.Context, u *url.URL, cfg listening) (*Listener, error) {
	local, err := isLoopback(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	if cfg.only && !local && len(cfg.certs) == 0 {
		cfg.keys = cfg.keys.monitors()
	}
	secured := cfg.keys.lends(Reader)
	open := local && (cfg.only || cfg.InsecureLoopback && !secured)
	switch {
	case cfg.only && !local && !cfg.keys.lends(monitor):
		return nil, errors.New("metrics that other hosts reach need a token: set the metrics token file, or another one with the certificate and its key, or listen on loopback")
	case cfg.only:
	case !local && (len(cfg.certs) == 0 || !secured):
		return nil, errors.New("an address that other hosts reach needs TLS and a token: set the certificate, its key and the token file, or listen on loopback")
	case local && !secured && !open:
		return nil, errors.New("TCP needs a token: set the token file, or allow loopback without one explicitly")
	}
	var lc net.ListenConfig
	inner, err := lc.Listen(ctx, "tcp", u.Host)
	if err != nil {
		return nil, explainBind(err)
	}
	l := &Listener{Listener: inner, URL: "http://" + inner.Addr().String(), keys: cfg.keys, open: open, loopback: open}
	if len(cfg.certs) > 0 {
		l.URL = "https://" + inner.Addr().String()
		l.Listener = tls.NewListener(inner, cfg.tls())
	}
	return l, nil
}

// tls is how TCP is secured. A client need not have a certificate; one that it has must be good.
func (cfg listening) tls() *tls.Config {
	t := &tls.Config{Certificates: cfg.certs, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if cfg.keys.authorities != nil {
		t.ClientAuth, t.ClientCAs = tls.VerifyClientCertIfGiven, cfg.keys.authorities
	}
	return t
}

// isLoopback tells whether host is this host's loopback, under every address that it has.
func isLoopback(ctx context.Context, host string) (bool, error) {
	if host == "" {
		return false, nil // every address
	}
	addrs, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false, err
	}
	for _, a := range addrs {
		if !a.IP.IsLoopback() {
			return false, nil
		}
	}
	return len(addrs) > 0, nil
}
