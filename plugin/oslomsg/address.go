package oslomsg

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// ErrAddress: a URL names no RabbitMQ that could be used. Its text says why, without a password.
var ErrAddress = errors.New("not the URL of a RabbitMQ")

// Address is where RabbitMQ is: one or several servers of a cluster, which are tried in turn.
type Address struct {
	hosts []string // with port
	user  string
	vhost string
	tls   bool
}

// ParseAddress reads "amqp://USER@HOST[:PORT][,HOST[:PORT]…][/VHOST]"; amqps:// is by TLS, and rabbit:// is oslo.messaging's word for
// amqp://. The virtual host is "/" where none is given. A password in it is refused: it is a secret, and comes from a
// file. ErrAddress.
func ParseAddress(text string) (Address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "amqp" && scheme != "amqps" && scheme != "rabbit" {
		return Address{}, fmt.Errorf("%w: give amqp://USER@HOST/VHOST, or amqps:// for TLS", ErrAddress)
	}
	a := Address{tls: scheme == "amqps", vhost: "/"}
	authority, path, hasPath := strings.Cut(rest, "/")
	if vhost, err := url.PathUnescape(path); err != nil {
		return Address{}, fmt.Errorf("%w: its virtual host is not escaped as in a URL", ErrAddress)
	} else if hasPath && vhost != "" {
		a.vhost = vhost
	}
	for _, server := range strings.Split(authority, ",") {
		if err := a.add(server); err != nil {
			return Address{}, err
		}
	}
	if a.user == "" {
		return Address{}, fmt.Errorf("%w: it names no user; give amqp://USER@HOST/VHOST", ErrAddress)
	}
	return a, nil
}

// add adds "[USER@]HOST[:PORT]".
func (a *Address) add(server string) error {
	u, err := url.Parse("amqp://" + server)
	switch {
	case err != nil, u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("%w: a server is HOST or HOST:PORT, several are separated by commas", ErrAddress)
	case u.User != nil:
		if _, has := u.User.Password(); has {
			return fmt.Errorf("%w: it has a password; put that into a file (password_file)", ErrAddress)
		}
		if user := u.User.Username(); a.user == "" || a.user == user {
			a.user = user
		} else {
			return fmt.Errorf("%w: its servers have different users", ErrAddress)
		}
	}
	port := u.Port()
	if port == "" {
		port = "5672"
		if a.tls {
			port = "5671"
		}
	}
	a.hosts = append(a.hosts, net.JoinHostPort(u.Hostname(), port))
	return nil
}

// String is the address in one form, which holds no secret.
func (a Address) String() string {
	scheme := "amqp"
	if a.tls {
		scheme = "amqps"
	}
	return scheme + "://" + url.User(a.user).String() + "@" + strings.Join(a.hosts, ",") + "/" + url.PathEscape(a.vhost)
}

// tlsFor is how the n-th server is to prove who it is; nil without TLS.
func (a Address) tlsFor(host string, base *tls.Config) *tls.Config {
	if !a.tls {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		c = base.Clone()
	}
	c.ServerName, _, _ = net.SplitHostPort(host)
	return c
}
