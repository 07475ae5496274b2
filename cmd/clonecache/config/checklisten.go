package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/clonecache/clonecache/plugin/api"
)

// listeners checks where the daemon serves. TCP that others can reach needs TLS and a token.
func (c *checker) listeners(cfg *Config) {
	if len(cfg.Listen) == 0 {
		c.problem("listen", "nowhere to listen", `leave it out, or give "unix:///run/clonecache/clonecache.sock"`)
	}
	cfg.TLS.CertFile = Path(absolute(c.file, string(cfg.TLS.CertFile)))
	cfg.TLS.KeyFile = SecretFile(absolute(c.file, string(cfg.TLS.KeyFile)))
	cfg.TokenFile = SecretFile(absolute(c.file, string(cfg.TokenFile)))
	cfg.MetricsTokenFile = SecretFile(absolute(c.file, string(cfg.MetricsTokenFile)))
	cfg.TLS.ClientCAFile = Path(absolute(c.file, string(cfg.TLS.ClientCAFile)))
	c.access(cfg)
	if (cfg.TLS.CertFile == "") != (cfg.TLS.KeyFile == "") {
		c.problem("tls", "only one of cert_file and key_file is given", "give both, or leave [tls] out")
	}
	if cfg.SocketMode&0o600 != 0o600 {
		c.problem("socket_mode", fmt.Sprintf("with %s the daemon's own user could not ask it", cfg.SocketMode), `give "0600", "0660" or "0666"`)
	}
	seen := make(map[string]bool)
	for i := range cfg.Listen {
		c.listener(fmt.Sprintf("listen[%d]", i), &cfg.Listen[i], cfg, seen, c.tcp)
	}
	for i := range cfg.MetricsListen {
		c.listener(fmt.Sprintf("metrics_listen[%d]", i), &cfg.MetricsListen[i], cfg, seen, c.metricsTCP)
	}
}

// listener checks one address; seen are those before it.
func (c *checker) listener(key string, l *Listen, cfg *Config, seen map[string]bool, tcp func(string, Listen, *Config)) {
	switch l.Network {
	case "unix":
		c.socket(key, l)
	case "tcp":
		tcp(key, *l, cfg)
	}
	if seen[l.String()] {
		c.problem(key, l.String()+" is listed twice", "remove one")
	}
	seen[l.String()] = true
}

// metricsTCP checks an address where metrics alone are served: they may be read without TLS by who has the token for them, which is
// good for nothing else, and on this host by everybody.
func (c *checker) metricsTCP(key string, l Listen, cfg *Config) {
	host, ok := c.hostOf(key, l)
	if ok && !isLoopback(host) && cfg.MetricsTokenFile == "" && (cfg.TLS.CertFile == "" || !cfg.secured()) {
		c.problem(key, l.Address+" can be reached from other hosts without a token, or without TLS by tokens that may do more than read metrics",
			"give metrics_token_file, or [tls] cert_file, key_file and token_file, or listen on 127.0.0.1")
	}
}

// hostOf is the host of a TCP address; not ok where it is none.
func (c *checker) hostOf(key string, l Listen) (host string, ok bool) {
	host, port, err := net.SplitHostPort(l.Address)
	if n, convErr := strconv.Atoi(port); err != nil || convErr != nil || n < 0 || n > 65535 {
		c.problem(key, fmt.Sprintf("%q is not host:port", l.Address), "write tcp://127.0.0.1:8780")
		return "", false
	}
	return host, true
}

func (c *checker) socket(key string, l *Listen) {
	l.Address = absolute(c.file, l.Address)
	if len(l.Address) > api.LongestSocket {
		c.problem(key, fmt.Sprintf("the socket's path is %d bytes long", len(l.Address)),
			fmt.Sprintf("at most %d can be used: use a shorter directory", api.LongestSocket))
	}
}

func (c *checker) tcp(key string, l Listen, cfg *Config) {
	host, ok := c.hostOf(key, l)
	if !ok {
		return
	}
	switch local := isLoopback(host); {
	case !local && (cfg.TLS.CertFile == "" || !cfg.secured()):
		c.problem(key, l.Address+" can be reached from other hosts without TLS and a token",
			"give [tls] cert_file, key_file and token_file, or listen on 127.0.0.1")
	case local && !cfg.secured() && !cfg.InsecureLoopback:
		c.problem(key, l.Address+" would serve everybody on this host",
			"give token_file, or allow it with insecure_loopback = true")
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
