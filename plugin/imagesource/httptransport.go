package imagesource

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/clonecache/clonecache/plugin/smallfile"
)

// ProxyNone is HTTPConfig.Proxy for no proxy, whatever the environment says.
const ProxyNone = "none"

// hosts are those that images may come from: the source's own, and those to which it may redirect.
type hosts struct {
	own      *url.URL
	patterns []string       // "*", "*.example.org"
	exact    []string       // names and addresses
	networks []netip.Prefix // whose addresses are named, for whatever host has them
	proxies  sync.Map       // host:port of proxies that are used; no images come from there
}

// newHosts reads HTTPConfig.Redirects.
func newHosts(own *url.URL, redirects []string) (*hosts, error) {
	h := &hosts{own: own}
	for _, entry := range redirects {
		entry = strings.ToLower(entry)
		name := strings.TrimPrefix(entry, "*.")
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			h.networks = append(h.networks, prefix)
			continue
		}
		ip := net.ParseIP(strings.Trim(entry, "[]")) != nil
		switch {
		case entry == "*" || name != entry && plainHost(name):
			h.patterns = append(h.patterns, entry)
		case ip:
			h.exact = append(h.exact, strings.Trim(entry, "[]"))
		case plainHost(entry):
			h.exact = append(h.exact, entry)
		default:
			return nil, fmt.Errorf("%q is no host, such as mirror.example.org, *.example.org, * or 10.0.0.0/8", entry)
		}
	}
	return h, nil
}

func plainHost(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
}

// mayRedirectTo tells whether a host is one to which the server may redirect.
func (h *hosts) mayRedirectTo(host string) bool {
	if host = strings.ToLower(host); h.named(host) {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil && h.namedAddress(ip) {
		return true
	}
	for _, pattern := range h.patterns {
		if pattern == "*" || strings.HasSuffix(host, pattern[1:]) {
			return true
		}
	}
	return false
}

// named tells whether a host stands in the configuration by itself, which allows whatever address it has.
func (h *hosts) named(host string) bool {
	host = strings.ToLower(host)
	for _, name := range append([]string{h.own.Hostname()}, h.exact...) {
		if strings.EqualFold(name, host) {
			return true
		}
	}
	return false
}

func (h *hosts) namedAddress(ip netip.Addr) bool {
	for _, network := range h.networks {
		if network.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// dial connects to a host after it has looked at the address that the name turned out to have, for each
// connection: what a name says may change. ErrAddress.
func (h *hosts) dial(ctx context.Context, network, to string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if _, proxy := h.proxies.Load(strings.ToLower(to)); !proxy && !h.named(host) {
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return h.checkAddress(host, address) }
	}
	return dialer.DialContext(ctx, network, to)
}

func (h *hosts) checkAddress(host, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s has no address", ErrAddress, host)
	}
	return h.checkIP(host, at.Addr())
}

func (h *hosts) checkIP(host string, ip netip.Addr) error {
	if special(ip) && !h.namedAddress(ip) {
		return fmt.Errorf("%w: %s has %s, which is not an address of the public network; name that host in redirects of the image source if images may come from there", ErrAddress, host, ip)
	}
	return nil
}

// notPublic are networks that are not reached over the public network, beside those that netip knows.
// Source: IANA's special-purpose address registries.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("fec0::/10"),
}

// embedding are networks whose addresses hold an IPv4 address, at that byte.
var embedding = map[netip.Prefix]int{
	netip.MustParsePrefix("64:ff9b::/96"): 12, // NAT64
	netip.MustParsePrefix("::/96"):        12, // IPv4-compatible
	netip.MustParsePrefix("2002::/16"):    2,  // 6to4
}

// special tells whether an address is private, link-local, loopback, or otherwise not of the public network.
func special(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() {
		return true
	}
	for _, network := range notPublic {
		if network.Contains(ip) {
			return true
		}
	}
	for network, at := range embedding {
		if bytes := ip.As16(); ip.Is6() && network.Contains(ip) {
			return special(netip.AddrFrom4([4]byte(bytes[at : at+4])))
		}
	}
	return false
}

// transport is how the source's hosts are reached.
func (h *hosts) transport(c HTTPConfig) (*http.Transport, error) {
	proxy, err := proxyOf(c.Proxy)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	t := &http.Transport{
		DialContext: h.dial,
		Proxy: func(r *http.Request) (*url.URL, error) {
			u, err := proxy(r)
			if u != nil {
				h.proxies.Store(strings.ToLower(net.JoinHostPort(u.Hostname(), port(u))), struct{}{})
			}
			return u, err
		},
		DisableCompression: true, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second,
	}
	if c.CAFile != "" {
		if t.TLSClientConfig, err = trust(c.CAFile); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// proxyOf finds the proxy of a request.
func proxyOf(text string) (func(*http.Request) (*url.URL, error), error) {
	switch text {
	case "":
		return http.ProxyFromEnvironment, nil
	case ProxyNone:
		return func(*http.Request) (*url.URL, error) { return nil, nil }, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5") {
		return nil, errors.New(`not http://host:port, https://host:port, socks5://host:port or "none", without a login`)
	}
	return http.ProxyURL(u), nil
}

// trust adds a file's certificates to the host's.
func trust(file string) (*tls.Config, error) {
	pem, err := smallfile.Read(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate as PEM", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// checkRedirect follows a redirect on the same host, also from http to https on the usual ports, and to hosts
// that the configuration names; never from https to http. A login stays with the source's own host, and no host
// is told where the redirect came from: that URL may be a signed one.
func (h *hosts) checkRedirect(to *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d redirects", ErrRedirect, maxRedirects)
	case to.URL.User != nil:
		return fmt.Errorf("%w: a redirect to a URL with a user", ErrRedirect)
	case to.URL.Scheme != "http" && to.URL.Scheme != "https":
		return fmt.Errorf("%w: a redirect to %s, which is not http or https", ErrRedirect, to.URL.Scheme)
	case SameHost(from, to.URL), upgrades(from, to.URL):
	case from.Scheme == "https" && to.URL.Scheme == "http":
		return fmt.Errorf("%w: a redirect from https://%s to http://%s, where nobody could tell who answers", ErrRedirect, from.Host, to.URL.Host)
	case !h.mayRedirectTo(to.URL.Hostname()) || strings.EqualFold(to.URL.Hostname(), h.own.Hostname()) && !h.ownRedirect(to.URL):
		return fmt.Errorf("%w: a redirect from %s://%s to %s://%s; add %q to redirects of the image source if images may come from there",
			ErrRedirect, from.Scheme, from.Host, to.URL.Scheme, to.URL.Host, to.URL.Hostname())
	}
	to.Header.Del("Referer")
	if !SameHost(h.own, to.URL) && !upgrades(h.own, to.URL) {
		to.Header.Del("Authorization")
	}
	return h.checkLiteral(to.URL.Hostname())
}

// upgrades tells whether a redirect goes from http to https on one host, on the usual ports.
func upgrades(from, to *url.URL) bool {
	return from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443" &&
		strings.EqualFold(from.Hostname(), to.Hostname())
}

// checkLiteral looks at a host that is an address already: a proxy would connect to it unseen. ErrAddress.
func (h *hosts) checkLiteral(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil && !h.named(host) {
		return h.checkIP(host, ip)
	}
	return nil
}

// ownRedirect tells whether a URL on the source's own host is where the source is, or where redirects allow:
// another port is another server.
func (h *hosts) ownRedirect(to *url.URL) bool {
	if SameHost(h.own, to) {
		return true
	}
	for _, name := range h.exact {
		if strings.EqualFold(name, to.Hostname()) {
			return true
		}
	}
	return false
}

// certificateError says whose certificate is not trusted and why, or nil where that is not the matter.
func certificateError(err error, host string) error {
	var failed *tls.CertificateVerificationError
	if !errors.As(err, &failed) || len(failed.UnverifiedCertificates) == 0 {
		return nil
	}
	leaf := failed.UnverifiedCertificates[0]
	var (
		wrongName x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &wrongName):
		return fmt.Errorf("%w: the certificate of %s is for %s; use a URL with a name that it has", ErrCertificate, host, strings.Join(append(leaf.DNSNames, addressesOf(leaf)...), ", "))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: the certificate of %s is valid from %s to %s; renew it, or set the clock", ErrCertificate, host,
			leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly))
	default:
		issuer := failed.UnverifiedCertificates[len(failed.UnverifiedCertificates)-1].Issuer
		return fmt.Errorf("%w: the certificate of %s is signed by %q, which this host does not trust; name the file with that authority's certificate as ca_file of the image source", ErrCertificate, host, issuer)
	}
}

func addressesOf(c *x509.Certificate) []string {
	var all []string
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// CheckProxy tells whether HTTPConfig.Proxy may be that.
func CheckProxy(text string) error {
	_, err := proxyOf(text)
	return err
}

// CheckRedirects tells whether HTTPConfig.Redirects may be those.
func CheckRedirects(redirects []string) error {
	_, err := newHosts(&url.URL{}, redirects)
	return err
}
