package config

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin/api"
)

// The bounds of values; docs/configuration.md states them too.
const (
	minSize          = 1 << 20        // bytes; a smaller max_size is surely a mistake
	maxName          = 63             // bytes
	minRatio         = 10             // max_compression_ratio
	maxRatio         = 1_000_000      // max_compression_ratio
	maxFills         = 256            // fill_limit
	minStopTimeout   = time.Second    // stop_timeout
	maxStopTimeout   = time.Hour      // stop_timeout
	minRetention     = 24 * time.Hour // report_retention
	maxRetention     = 3650 * day     // report_retention
	maxEvents        = 1_000_000      // events_max
	maxRequestWait   = time.Hour      // request_timeout
	maxServeStale    = 30 * day       // serve_stale
	minMaxIdle       = time.Minute    // max_idle
	maxEvictionDelay = 30 * day       // min_age
	maxWaiting       = 100_000        // max_waiting
)

var nameRule = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// checker gathers what is wrong in one decoded file.
type checker struct {
	file     string
	lineOf   func(key string) int
	set      map[string]bool // keys that the file gives
	problems Problems
	warnings Problems
}

func (c *checker) at(key, what, remedy string) Problem {
	return Problem{File: c.file, Line: c.lineOf(key), Key: key, What: what, Remedy: remedy}
}

func (c *checker) problem(key, what, remedy string) {
	c.problems = append(c.problems, c.at(key, what, remedy))
}

func (c *checker) warn(key, what, remedy string) {
	c.warnings = append(c.warnings, c.at(key, what, remedy))
}

// config checks everything and makes paths absolute.
func (c *checker) config(cfg *Config) {
	c.daemon(cfg)
	c.listeners(cfg)
	c.catalog(cfg.Catalog)
	c.tenant(&cfg.InternalTenant)
	c.sources(cfg.ImageSources)
	c.backends(cfg)
	c.fileCaches(cfg.FileCaches)
	c.names(cfg)
	c.directories(cfg)
}

func (c *checker) daemon(cfg *Config) {
	c.path("state_dir", &cfg.StateDir)
	if !c.set["scratch_dir"] {
		cfg.ScratchDir = cfg.StateDir + "/scratch"
	}
	c.path("scratch_dir", &cfg.ScratchDir)
	c.size("scratch_max_size", cfg.ScratchMaxSize, minSize)
	c.each("accept_formats", cfg.AcceptFormats, "raw", "qcow2", "iso")
	if len(cfg.AcceptFormats) == 0 {
		c.problem("accept_formats", "no image would be accepted", `leave it out, or give "raw" or "qcow2"`)
	}
	c.each("accept_compression", cfg.AcceptCompression, "gzip", "xz", "zstd", "bzip2")
	between(c, "max_compression_ratio", cfg.MaxCompressionRatio, minRatio, maxRatio)
	between(c, "fill_limit", cfg.FillLimit, 1, maxFills)
	c.duration("stop_timeout", cfg.StopTimeout, minStopTimeout, maxStopTimeout)
	c.duration("report_retention", cfg.ReportRetention, minRetention, maxRetention)
	between(c, "events_max", cfg.EventsMax, 0, maxEvents)
	if _, err := logrus.ParseLevel(cfg.LogLevel); err != nil {
		c.problem("log_level", fmt.Sprintf("%q is not a level", cfg.LogLevel), `use "debug", "info", "warn" or "error"`)
	}
	c.oneOf("log_format", cfg.LogFormat, LogText, LogJSON)
}

// each checks a list of words, each of them once.
func (c *checker) each(key string, list []string, words ...string) {
	for i, word := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		c.oneOf(at, word, words...)
		if slices.Contains(list[:i], word) {
			c.problem(at, fmt.Sprintf("%q is listed twice", word), "remove one")
		}
	}
}

// listeners checks where the daemon serves. TCP that others can reach needs TLS and a token.
func (c *checker) listeners(cfg *Config) {
	if len(cfg.Listen) == 0 {
		c.problem("listen", "nowhere to listen", `leave it out, or give "unix:///run/clonecache/clonecache.sock"`)
	}
	cfg.TLS.CertFile = Path(absolute(c.file, string(cfg.TLS.CertFile)))
	cfg.TLS.KeyFile = SecretFile(absolute(c.file, string(cfg.TLS.KeyFile)))
	cfg.TokenFile = SecretFile(absolute(c.file, string(cfg.TokenFile)))
	cfg.MetricsTokenFile = SecretFile(absolute(c.file, string(cfg.MetricsTokenFile)))
	if (cfg.TLS.CertFile == "") != (cfg.TLS.KeyFile == "") {
		c.problem("tls", "only one of cert_file and key_file is given", "give both, or leave [tls] out")
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

// metricsTCP checks an address where metrics alone are served: they may be read without TLS, and on this host by
// everybody.
func (c *checker) metricsTCP(key string, l Listen, cfg *Config) {
	host, ok := c.hostOf(key, l)
	if ok && !isLoopback(host) && cfg.TokenFile == "" && cfg.MetricsTokenFile == "" {
		c.problem(key, l.Address+" can be reached from other hosts without a token",
			"give metrics_token_file, or listen on 127.0.0.1")
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
	case !local && (cfg.TLS.CertFile == "" || cfg.TokenFile == ""):
		c.problem(key, l.Address+" can be reached from other hosts without TLS and a token",
			"give [tls] cert_file, key_file and token_file, or listen on 127.0.0.1")
	case local && cfg.TokenFile == "" && !cfg.InsecureLoopback:
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

func (c *checker) catalog(cat Catalog) {
	if cat.URL == "" {
		return
	}
	scheme, _, _ := strings.Cut(cat.URL, "://")
	k, known := catalogSchemes[scheme]
	if !known {
		c.problem("catalog.url", "not a catalog's URL", "leave [catalog] out for the SQLite catalog in state_dir")
		return
	}
	c.problem("catalog.url", fmt.Sprintf("no %s here", scheme), k.missing)
}

func (c *checker) tenant(t *InternalTenant) {
	between(c, "internal_tenant.max_volumes", t.MaxVolumes, 0, math.MaxInt32)
	between(c, "internal_tenant.max_gigabytes", t.MaxGigabytes, 0, math.MaxInt32)
	if !c.kind("internal_tenant", t.Kind, tenantKinds) {
		return
	}
	if t.Kind == "openstack" {
		c.openstackTenant(t)
		return
	}
	for _, id := range []struct{ key, value string }{{"project_id", t.ProjectID}, {"user_id", t.UserID}} {
		if strings.TrimSpace(id.value) == "" {
			c.problem("internal_tenant."+id.key, "it is empty", `give an ID, or leave it out for "clonecache"`)
		}
	}
}

func (c *checker) sources(sources []ImageSource) {
	if len(sources) == 0 {
		c.problem("image_source", "there is no image source", "add an [[image_source]] with name, kind and path or url")
	}
	for i := range sources {
		s, at := &sources[i], fmt.Sprintf("image_source[%d]", i)
		if !c.kind(at, s.Kind, sourceKinds) {
			continue
		}
		c.duration(at+".serve_stale", s.ServeStale, 0, maxServeStale)
		switch s.Kind {
		case "directory":
			c.path(at+".path", &s.Path)
		case "http":
			c.web(at, s)
		case "glance":
			c.glance(at, s)
		}
	}
}

func (c *checker) backends(cfg *Config) {
	if len(cfg.Backends) == 0 {
		c.problem("backend", "there is no backend", "add a [[backend]] with name, kind and path")
	}
	caches := make(map[string]bool)
	for _, f := range cfg.FileCaches {
		caches[f.Name] = true
	}
	defer c.volumeTypes(cfg.Backends)
	for i := range cfg.Backends {
		b, at := &cfg.Backends[i], fmt.Sprintf("backend[%d]", i)
		if c.kind(at, b.Kind, backendKinds) {
			c.ofKind(at, b)
			c.imageVolumes(at, b, cfg.InternalTenant.Kind)
		}
		c.bounds(at, bounds{b.MaxSize, b.MaxCount, b.MaxPercent, b.MinAge, b.MinHits, b.MaxIdle})
		c.oneOf(at+".share", b.Share, ShareOwner, ShareAll)
		c.duration(at+".request_timeout", b.RequestTimeout, 0, maxRequestWait)
		between(c, at+".max_waiting", b.MaxWaiting, 0, maxWaiting)
		if b.Fallback != "" && !caches[b.Fallback] {
			c.problem(at+".fallback", fmt.Sprintf("there is no file cache named %q", b.Fallback),
				"name a [[file_cache]]"+listed(slices.Sorted(maps.Keys(caches))))
		}
		if b.MaxSize == 0 && b.MaxCount == 0 && b.MaxPercent == 0 {
			c.warn(at, "its cache has no bound and grows until the backend is full", "set max_size, max_count or max_percent")
		}
		if b.Fallback == "" {
			c.warn(at, "it has no fallback: requests that cannot be cloned are bypassed", "set fallback to a [[file_cache]]")
		}
	}
}

// ofKind checks what belongs to a backend's kind.
func (c *checker) ofKind(at string, b *Backend) {
	switch b.Kind {
	case "file":
		c.path(at+".path", &b.Path)
		c.volumeMode(at+".volume_mode", b.VolumeMode)
	case "rbd":
		c.rbd(at, b)
	}
}

// volumeMode refuses permissions with which the volume is of no use to its owner, or of use to everybody.
func (c *checker) volumeMode(key string, mode FileMode) {
	switch {
	case !c.set[key]:
	case mode&0o600 != 0o600:
		c.problem(key, fmt.Sprintf("with %s its owner could not read and write a volume", mode), `give "0600" or "0660"`)
	case mode&0o007 != 0:
		c.problem(key, fmt.Sprintf("with %s everybody on this host could use a volume", mode), `give "0600" or "0660", and name a group`)
	case mode&0o111 != 0:
		c.problem(key, fmt.Sprintf("%s lets volumes be run as programs", mode), `give "0600" or "0660"`)
	}
}

func (c *checker) fileCaches(caches []FileCache) {
	for i := range caches {
		f, at := &caches[i], fmt.Sprintf("file_cache[%d]", i)
		c.path(at+".path", &f.Path)
		c.bounds(at, bounds{f.MaxSize, f.MaxCount, f.MaxPercent, f.MinAge, f.MinHits, f.MaxIdle})
		if f.MaxSize == 0 && c.set[at+".max_size"] {
			c.problem(at+".max_size", "a file cache is always bounded", "give a size, or leave it out for 10GiB")
		}
	}
}

// bounds are what [[backend]] and [[file_cache]] limit a cache by.
type bounds struct {
	maxSize    Size
	maxCount   int
	maxPercent int
	minAge     Duration
	minHits    int64
	maxIdle    Duration
}

func (c *checker) bounds(at string, b bounds) {
	if b.maxSize != 0 {
		c.size(at+".max_size", b.maxSize, minSize)
	}
	between(c, at+".max_count", b.maxCount, 0, math.MaxInt32)
	between(c, at+".max_percent", b.maxPercent, 0, 100)
	c.duration(at+".min_age", b.minAge, 0, maxEvictionDelay)
	between(c, at+".min_hits", b.minHits, 0, math.MaxInt32)
	if b.maxIdle != 0 {
		c.duration(at+".max_idle", b.maxIdle, minMaxIdle, maxRetention)
	}
}

// names checks that names are well formed and not given twice. Backends and file caches share one set
// of names, since entries and reports name either.
func (c *checker) names(cfg *Config) {
	sources, stores := make(map[string]string), make(map[string]string)
	for i, s := range cfg.ImageSources {
		c.name(fmt.Sprintf("image_source[%d]", i), s.Name, sources)
	}
	for i, b := range cfg.Backends {
		c.name(fmt.Sprintf("backend[%d]", i), b.Name, stores)
	}
	for i, f := range cfg.FileCaches {
		c.name(fmt.Sprintf("file_cache[%d]", i), f.Name, stores)
	}
}

func (c *checker) name(at, name string, taken map[string]string) {
	key := at + ".name"
	switch {
	case name == "":
		c.problem(key, "it has no name", "give a short name, such as \"local\"")
	case len(name) > maxName || !nameRule.MatchString(name):
		c.problem(key, fmt.Sprintf("%q is not a name", name),
			fmt.Sprintf("use up to %d of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit", maxName))
	case name == "http" || name == "https":
		c.problem(key, fmt.Sprintf("%q is kept for URLs", name), "use another name")
	case taken[name] != "":
		c.problem(key, fmt.Sprintf("%q is the name of %s already", name, taken[name]), "give each its own name")
	default:
		taken[name] = at
	}
}

// kind checks a kind and that no key of another kind is beside it; false where there is no such kind. One that
// this build lacks is a problem, and its keys are checked all the same.
func (c *checker) kind(at, name string, kinds map[string]kind) bool {
	k, known := kinds[name]
	switch {
	case name == "":
		c.problem(at+".kind", "it is missing", "write kind = "+available(kinds))
		return false
	case !known:
		c.problem(at+".kind", fmt.Sprintf("%q is not a kind", name), "use "+available(kinds))
		return false
	case k.missing != "":
		c.problem(at+".kind", fmt.Sprintf("kind %q cannot be used", name), k.missing)
	}
	for _, key := range kindKeys(kinds) {
		if c.set[at+"."+key] && !slices.Contains(k.keys, key) {
			c.problem(at+"."+key, fmt.Sprintf("it has no meaning for kind %q", name), "remove it")
		}
	}
	return true
}

func (c *checker) path(key string, p *Path) {
	if *p == "" {
		c.problem(key, "it is missing", "give a directory's path")
		return
	}
	if strings.ContainsRune(string(*p), 0) {
		c.problem(key, "it contains a zero byte", "remove it")
	}
	*p = Path(absolute(c.file, string(*p)))
}

func (c *checker) size(key string, s Size, least int64) {
	if int64(s) < least {
		c.problem(key, fmt.Sprintf("%s is too small", s), "give at least "+Size(least).String())
	}
}

func (c *checker) duration(key string, d Duration, least, most time.Duration) {
	if time.Duration(d) < least || time.Duration(d) > most {
		c.problem(key, fmt.Sprintf("%s is out of bounds", d), fmt.Sprintf("give %s to %s", Duration(least), Duration(most)))
	}
}

func (c *checker) oneOf(key, value string, words ...string) {
	if !slices.Contains(words, value) {
		c.problem(key, fmt.Sprintf("%q is not known here", value), `use "`+strings.Join(words, `" or "`)+`"`)
	}
}

// between checks a number's bounds.
func between[T int | int64](c *checker, key string, n, least, most T) {
	if n < least || n > most {
		c.problem(key, fmt.Sprintf("%d is out of bounds", n), fmt.Sprintf("give %d to %d", least, most))
	}
}

func listed(names []string) string {
	if len(names) == 0 {
		return "; there is none yet"
	}
	return ": " + strings.Join(names, ", ")
}
