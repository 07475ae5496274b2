package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
)

// glanceAPI checks where Glance's API is served, and fills in which image source stands behind.
func (c *checker) glanceAPI(cfg *Config) {
	g := &cfg.GlanceAPI
	g.CertFile = Path(absolute(c.file, string(g.CertFile)))
	g.KeyFile = SecretFile(absolute(c.file, string(g.KeyFile)))
	if len(g.Listen) == 0 {
		if c.set["glance_api"] {
			c.problem("glance_api.listen", "it is missing", `give "tcp://127.0.0.1:9292", or leave [glance_api] out`)
		}
		return
	}
	if (g.CertFile == "") != (g.KeyFile == "") {
		c.problem("glance_api", "only one of cert_file and key_file is given", "give both, or neither")
	}
	c.glanceListeners(cfg)
	c.glanceSource(cfg)
	c.glanceBackends(cfg)
	if u, err := url.Parse(g.AuthURL); g.AuthURL != "" && (err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https") {
		c.problem("glance_api.auth_url", "not a plain http(s) URL", `write "https://keystone.example.org:5000/v3", or leave it out for the image source's`)
	}
	for i, role := range g.Roles {
		if role == "" {
			c.problem(fmt.Sprintf("glance_api.roles[%d]", i), "it is empty", `name a role, such as "admin"`)
		}
	}
}

// glanceListeners checks the addresses. Tokens travel to them.
func (c *checker) glanceListeners(cfg *Config) {
	seen := make(map[string]bool)
	for _, l := range slices.Concat(cfg.Listen, cfg.MetricsListen) {
		seen[l.String()] = true
	}
	for i := range cfg.GlanceAPI.Listen {
		key, l := fmt.Sprintf("glance_api.listen[%d]", i), &cfg.GlanceAPI.Listen[i]
		if l.Network != "tcp" {
			c.problem(key, "Glance's clients do not use sockets", "write tcp://127.0.0.1:9292")
			continue
		}
		c.listener(key, l, cfg, seen, func(key string, l Listen, cfg *Config) {
			host, ok := c.hostOf(key, l)
			if ok && !isLoopback(host) && cfg.GlanceAPI.CertFile == "" {
				c.warn(key, "tokens and images travel there unencrypted", "give cert_file and key_file, or let only a balancer with TLS reach it")
			}
		})
	}
}

// glanceSource finds the image source before whose service the API stands.
func (c *checker) glanceSource(cfg *Config) {
	g := &cfg.GlanceAPI
	var able []string
	for _, s := range cfg.ImageSources {
		if _, is := s.Of.(Fronted); is {
			able = append(able, s.Name)
		}
	}
	switch {
	case g.Source == "" && len(able) == 1:
		g.Source = able[0]
	case g.Source == "" && len(able) > 1:
		c.problem("glance_api.source", "there are several image sources that it could stand before", "name one"+listed(able))
	case !slices.Contains(able, g.Source):
		c.problem("glance_api.source", "it does not name an image source before whose service it could stand", "name one"+listed(able))
	}
	c.notItself(cfg)
}

// notItself refuses a service that is this very API: requests would come back.
func (c *checker) notItself(cfg *Config) {
	for n, s := range cfg.ImageSources {
		fronted, is := s.Of.(Fronted)
		if !is || s.Name != cfg.GlanceAPI.Source {
			continue
		}
		u, err := url.Parse(fronted.Fronted())
		if err != nil || u.Host == "" {
			continue
		}
		for _, l := range cfg.GlanceAPI.Listen {
			if listensAt(l, u) {
				c.problem(fmt.Sprintf("image_source[%d].endpoint", n), fmt.Sprintf("[glance_api] listens at %s itself, so that its requests would come back", l), "give Glance's own address")
			}
		}
	}
}

// listensAt tells whether a URL leads to a listener of this host, as far as names and addresses say so.
func listensAt(l Listen, u *url.URL) bool {
	host, port, err := net.SplitHostPort(l.Address)
	usual := "80"
	if strings.HasSuffix(u.Scheme, "s") {
		usual = "443"
	}
	if err != nil || port != cmp.Or(u.Port(), usual) {
		return false
	}
	own, _ := os.Hostname() // without one it is compared with none
	ip := net.ParseIP(host)
	anywhere := host == "" || ip != nil && ip.IsUnspecified()
	at := strings.ToLower(u.Hostname())
	return at == strings.ToLower(host) || isLoopback(at) && (anywhere || isLoopback(host)) || anywhere && at == strings.ToLower(own)
}

// glanceBackends checks where images are cached that clients queue or download.
func (c *checker) glanceBackends(cfg *Config) {
	stores := make(map[string]bool)
	for _, b := range cfg.Backends {
		stores[b.Name] = true
	}
	for _, f := range cfg.FileCaches {
		stores[f.Name] = true
	}
	if name := cfg.GlanceAPI.FileCache; name != "" && !slices.ContainsFunc(cfg.FileCaches, func(f FileCache) bool { return f.Name == name }) {
		c.problem("glance_api.file_cache", fmt.Sprintf("there is no file cache named %q", name), "name a [[file_cache]], or leave it out: downloads are then Glance's")
	}
	for i, name := range cfg.GlanceAPI.Backends {
		if !stores[name] {
			c.problem(fmt.Sprintf("glance_api.backends[%d]", i), fmt.Sprintf("there is no backend or file cache named %q", name),
				"name a [[backend]] or a [[file_cache]]"+listed(slices.Sorted(maps.Keys(stores))))
		}
	}
}
