package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/smallfile"
)

// Codes that the client adds to the table's.
const (
	CodeDaemonUnreachable = "daemon_unreachable"
	CodeSocketForbidden   = "socket_forbidden"
	CodeUntrustedServer   = "untrusted_server"
	CodeBadServerURL      = "bad_server_url"
	CodeBadAnswer         = "bad_answer"
	// CodeCertificateRefused: the daemon does not take the client's own certificate.
	CodeCertificateRefused = "certificate_refused"
)

const ndjson = "application/x-ndjson"

// call is one request to the daemon.
type call struct {
	method string
	path   string
	query  url.Values
	body   any               // nil: none
	token  imagesource.Token // the requester's own; "": none
}

// server is where a daemon listens.
type server struct {
	base   string
	socket string // "" for TCP
}

func parseServer(text string) (server, error) {
	if socket, ok := strings.CutPrefix(text, "unix://"); ok && strings.HasPrefix(socket, "/") {
		return server{base: "http://clonecache", socket: socket}, nil
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return server{}, &Error{Code: CodeBadServerURL, Message: "the server's URL must be unix:///path/to.sock, http://host:port or https://host:port"}
	}
	return server{base: strings.TrimSuffix(u.String(), "/")}, nil
}

func newTransport(target server, cfg ClientConfig) (*http.Transport, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 16, Proxy: http.ProxyFromEnvironment}
	if target.socket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", target.socket)
		}
	}
	var err error
	transport.TLSClientConfig, err = clientTLS(cfg)
	return transport, err
}

// clientTLS is how a client and a server prove who they are; nil: the library's own way.
func clientTLS(cfg ClientConfig) (*tls.Config, error) {
	if cfg == (ClientConfig{TokenFile: cfg.TokenFile, KeystoneTokenFile: cfg.KeystoneTokenFile}) {
		return nil, nil //nolint:nilnil // there is nothing to set
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("only one of the client's certificate and its key is given: give both, as PEM")
	}
	if cfg.CertFile != "" {
		own, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the client's certificate and key: %w: give both, as PEM", err)
		}
		t.Certificates = []tls.Certificate{own}
	}
	if cfg.CAFile == "" {
		return t, nil
	}
	pem, err := smallfile.Read(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the CA file %s: no PEM certificate in it: name the file with the authority's", cfg.CAFile)
	}
	return t, nil
}

// send makes the call and returns a response with a status below 300. It follows no redirect: a daemon sends
// none, and tokens and deletions are for the one server alone. The caller closes its body.
func (c *Client) send(ctx context.Context, req call, accept string) (*http.Response, error) {
	var body io.Reader
	if req.body != nil {
		encoded, err := json.Marshal(req.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, req.method, c.base+req.path, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if !plainPath(r.URL) {
		return nil, &Error{Code: noSuchRoute.code, Status: noSuchRoute.status, Message: `nothing is called "", "." or ".."; give a name or an ID`}
	}
	r.URL.RawQuery = req.query.Encode()
	r.Header.Set("Accept", accept)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if own := cmp.Or(string(req.token), string(c.guest)); own != "" {
		r.Header.Set(guestHeader, own)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+string(c.token))
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, c.refused(resp)
	}
	return resp, nil
}

// refused is the daemon's error, or says that what redirects is no daemon.
func (c *Client) refused(resp *http.Response) error {
	if resp.StatusCode < 400 {
		return c.stranger()
	}
	return decodeError(resp)
}

// stranger says that something else than a daemon listens.
func (c *Client) stranger() *Error {
	return &Error{Code: CodeBadAnswer, Message: fmt.Sprintf("what listens at %s does not answer as clonecache does; check the server's URL", c.where)}
}

// fetch makes the call and decodes its JSON answer. A 204 leaves the zero T.
func fetch[T any](ctx context.Context, c *Client, req call) (T, error) {
	var answer T
	resp, err := c.send(ctx, req, "application/json")
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return answer, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, c.lost(ctx, err)
	}
	return answer, nil
}

// streamed makes the call and gives each line to take, until it returns a result or an error.
func streamed[L, T any](ctx context.Context, c *Client, req call, take func(L) (*T, *Error)) (T, error) {
	var none T
	resp, err := c.send(ctx, req, ndjson)
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var line L
		if err := lines.Decode(&line); err != nil {
			return none, c.lost(ctx, err)
		}
		result, failed := take(line)
		switch {
		case failed != nil:
			return none, failed
		case result != nil:
			return *result, nil
		}
	}
}

// lost explains a call that got no answer, or half of one.
func (c *Client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &mistyped) {
		return c.stranger()
	}
	if alert := ownCertificate(err); alert != "" {
		return &Error{Code: CodeCertificateRefused, Message: fmt.Sprintf(
			"%s refuses your certificate (%s); renew it, or name another one with --cert-file and --key-file", c.where, alert)}
	}
	if untrusted := c.untrusted(err); untrusted != nil {
		return untrusted
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return c.unreached(op)
	}
	return &Error{Code: CodeDaemonUnreachable, Retryable: true, Message: fmt.Sprintf(
		"the clonecache daemon at %s ended the connection (%v); its log says why", c.where, cause(err))}
}

// ownCertificate is what a server says of the client's certificate that it refuses; "": it does not.
func ownCertificate(err error) string {
	text := err.Error()
	at := strings.Index(text, "remote error: tls: ")
	if at < 0 || !strings.Contains(text[at:], "certificate") {
		return ""
	}
	return text[at+len("remote error: tls: "):]
}

// unreached explains a connection that did not come about.
func (c *Client) unreached(op *net.OpError) *Error {
	why := dialCause(op)
	if errors.Is(why, fs.ErrPermission) {
		return &Error{Code: CodeSocketForbidden, Message: fmt.Sprintf(
			"you may not open the socket of %s (%v): join the group that owns it (socket_group in the daemon's configuration), or run the command as a user who may",
			c.where, why)}
	}
	return &Error{Code: CodeDaemonUnreachable, Retryable: true, Message: fmt.Sprintf(
		"no clonecache daemon answers at %s (%v); start it with `clonecache serve`, or name its address with --server or CLONECACHE_SERVER",
		c.where, why)}
}

// untrusted explains that a server could not prove its identity, or speaks no TLS at all; nil: it proved it.
func (c *Client) untrusted(err error) *Error {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var remedy string
	switch {
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return &Error{Code: CodeBadServerURL, Message: fmt.Sprintf("what listens at %s speaks no TLS; name it with http://", c.where)}
	case !errors.As(err, &certificate):
		return nil
	}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		remedy = "name the certificate that signed it with --ca-file or CLONECACHE_CA_FILE"
	case errors.As(err, &name):
		remedy = "name the server by a host name that its certificate has"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		remedy = "renew it (cert_file in the daemon's configuration), or set this host's clock"
	default:
		remedy = "replace it (cert_file in the daemon's configuration)"
	}
	return &Error{Code: CodeUntrustedServer, Message: fmt.Sprintf("the certificate of %s is not trusted (%v): %s", c.where, certificate.Err, remedy)}
}

func dialCause(op *net.OpError) error {
	var call *os.SyscallError
	if errors.As(op.Err, &call) {
		return call.Err
	}
	return op.Err
}

// cause strips what net/http says of the URL, which c.where says better.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func decodeError(resp *http.Response) error {
	const limit = 1 << 20
	var body errorBody
	text, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if strings.Contains(string(text), "HTTP request to an HTTPS server") {
		return &Error{Code: CodeBadServerURL, Message: "the server speaks TLS only; name it with https://"}
	}
	if err != nil || body.Error == nil || body.Error.Code == "" {
		return &Error{Code: CodeBadAnswer, Status: resp.StatusCode,
			Message: fmt.Sprintf("the server answered %s, not as clonecache does; check the server's URL", resp.Status)}
	}
	body.Error.Status = resp.StatusCode
	return body.Error
}

func setFlag[B ~bool](query url.Values, name string, on B) {
	if on {
		query.Set(name, "true")
	}
}
