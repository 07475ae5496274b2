package config

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// The bounds of values; docs/configuration.md states them too.
const (
	minSize          = 1 << 20        // bytes; a smaller max_size is surely a mistake
	maxName          = 63             // bytes
	minRatio         = 10             // max_compression_ratio
	maxRatio         = 1_000_000      // max_compression_ratio
	maxFills         = 256            // fill_limit, max_fills, max_fills_per_project
	minStopTimeout   = time.Second    // stop_timeout
	maxStopTimeout   = time.Hour      // stop_timeout
	minRetention     = 24 * time.Hour // report_retention
	maxRetention     = 3650 * day     // report_retention
	minStallTimeout  = time.Second    // stall_timeout
	maxStallTimeout  = time.Hour      // stall_timeout
	minKeepFailed    = time.Hour      // keep_failed; a refusal is answered from it for so long
	minClean         = time.Minute    // clean_every
	minScrub         = time.Minute    // scrub_every
	minBandwidth     = 64 << 10       // max_bandwidth
	minFresh         = time.Minute    // fresh_for
	maxEvents        = 1_000_000      // events_max
	maxRequestWait   = time.Hour      // request_timeout
	minMaxIdle       = time.Minute    // max_idle, remove_unused_after
	maxEvictionDelay = 30 * day       // min_age
	maxWaiting       = 100_000        // max_waiting
)

var nameRule = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// checker gathers what is wrong in one decoded file.
type checker struct {
	file     string
	lineOf   func(key string) int
	set      map[string]bool // keys that the file gives
	bad      map[string]bool // those of them that could not be read; more need not be said of them
	dirs     []directory     // that were checked so far
	once     map[string]string
	problems Problems
	warnings Problems
}

// undecoded reports a key that could not be read.
func (c *checker) undecoded(key, what, remedy string) {
	c.problem(key, what, remedy)
	if c.bad == nil {
		c.bad = make(map[string]bool)
	}
	c.bad[key] = true
}

func (c *checker) at(key, what, remedy string) Problem {
	return Problem{File: c.file, Line: c.lineOf(key), Key: key, What: what, Remedy: remedy}
}

func (c *checker) problem(key, what, remedy string) {
	if !c.bad[key] {
		c.problems = append(c.problems, c.at(key, what, remedy))
	}
}

func (c *checker) warn(key, what, remedy string) {
	c.warnings = append(c.warnings, c.at(key, what, remedy))
}

// config checks everything and makes paths absolute.
func (c *checker) config(cfg *Config) {
	c.daemon(cfg)
	c.listeners(cfg)
	c.catalog(&cfg.Catalog)
	c.tenant(cfg)
	c.sources(cfg)
	c.backends(cfg)
	c.fileCaches(cfg.FileCaches)
	c.names(cfg)
	c.groups(cfg)
	c.follows(cfg)
	c.sinks(cfg)
	c.glanceAPI(cfg)
	c.directories()
}

func (c *checker) daemon(cfg *Config) {
	c.dir("state_dir", &cfg.StateDir, state)
	if !c.set["scratch_dir"] && cfg.StateDir != "" {
		cfg.ScratchDir = cfg.StateDir + "/scratch"
	}
	if c.set["scratch_dir"] || cfg.ScratchDir != "" {
		c.dir("scratch_dir", &cfg.ScratchDir, scratch)
	}
	c.size("scratch_max_size", cfg.ScratchMaxSize, minSize)
	c.each("accept_formats", cfg.AcceptFormats, "raw", "qcow2", "iso")
	if len(cfg.AcceptFormats) == 0 {
		c.problem("accept_formats", "no image would be accepted", `leave it out, or give "raw" or "qcow2"`)
	}
	c.each("accept_compression", cfg.AcceptCompression, "gzip", "xz", "zstd", "bzip2")
	between(c, "max_compression_ratio", cfg.MaxCompressionRatio, minRatio, maxRatio)
	between(c, "fill_limit", cfg.FillLimit, 1, maxFills)
	between(c, "max_fills_per_project", cfg.MaxFillsPerProject, 0, maxFills)
	c.duration("stop_timeout", cfg.StopTimeout, minStopTimeout, maxStopTimeout)
	c.duration("report_retention", cfg.ReportRetention, minRetention, maxRetention)
	c.duration("stall_timeout", cfg.StallTimeout, minStallTimeout, maxStallTimeout)
	c.duration("keep_failed", cfg.KeepFailed, minKeepFailed, maxRetention)
	if cfg.CleanEvery != 0 {
		c.duration("clean_every", cfg.CleanEvery, minClean, maxRetention)
	}
	if cfg.ScrubEvery != 0 {
		c.duration("scrub_every", cfg.ScrubEvery, minScrub, maxRetention)
	}
	between(c, "scrub_share", cfg.ScrubShare, 1, 100)
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
		if slices.Contains(words, word) && slices.Contains(list[:i], word) {
			c.problem(at, fmt.Sprintf("%q is listed twice", word), "remove one")
		}
	}
}

// catalog checks where the catalog is; what goes with a server alone is a problem beside SQLite.
func (c *checker) catalog(cat *Catalog) {
	cat.PasswordFile = SecretFile(absolute(c.file, string(cat.PasswordFile)))
	cat.CAFile = Path(absolute(c.file, string(cat.CAFile)))
	var place catalog.Place
	if cat.URL != "" {
		var err error
		if place, err = catalog.ParseURL(cat.URL); err != nil {
			c.problem("catalog.url", err.Error(), "correct it, or leave [catalog] out for the SQLite catalog in state_dir")
			return
		}
	}
	for key, value := range map[string]string{"password_file": string(cat.PasswordFile), "ca_file": string(cat.CAFile)} {
		if value != "" && (cat.URL == "" || !place.Server()) {
			c.problem("catalog."+key, "a SQLite catalog has none", "leave it out, or give the url of a database server")
		}
	}
}

func (c *checker) tenant(cfg *Config) {
	t := &cfg.InternalTenant
	between(c, "internal_tenant.max_volumes", t.MaxVolumes, 0, math.MaxInt32)
	between(c, "internal_tenant.max_gigabytes", t.MaxGigabytes, 0, math.MaxInt32)
	c.ofKind(cfg, tenantTable, "", t.Of)
}

func (c *checker) sources(cfg *Config) {
	if len(cfg.ImageSources) == 0 {
		c.problem("image_source", "there is no image source", "add an [[image_source]] with name, kind and path or url")
	}
	for i, s := range cfg.ImageSources {
		at := fmt.Sprintf("image_source[%d]", i)
		c.ofKind(cfg, at, s.Name, s.Of)
		if s.FreshFor != 0 {
			c.duration(at+".fresh_for", s.FreshFor, minFresh, maxRetention)
		}
		if s.MaxBandwidth != 0 {
			c.size(at+".max_bandwidth", s.MaxBandwidth, minBandwidth)
		}
		between(c, at+".max_fills", s.MaxFills, 0, maxFills)
	}
}

func (c *checker) backends(cfg *Config) {
	if len(cfg.Backends) == 0 {
		c.problem("backend", "there is no backend", "add a [[backend]] with name, kind and path")
	}
	caches, named := make(map[string]bool), true
	for _, f := range cfg.FileCaches {
		caches[f.Name] = true
		named = named && nameRule.MatchString(f.Name) // else what is wrong is the file cache's name
	}
	for i := range cfg.Backends {
		b, at := &cfg.Backends[i], fmt.Sprintf("backend[%d]", i)
		c.ofKind(cfg, at, b.Name, b.Of)
		c.bounds(at, bounds{b.MaxSize, b.MaxCount, b.MaxPercent, b.MinAge, b.MinHits, b.MaxIdle, b.RemoveUnused})
		c.oneOf(at+".share", b.Share, ShareOwner, ShareAll)
		c.duration(at+".request_timeout", b.RequestTimeout, 0, maxRequestWait)
		between(c, at+".max_waiting", b.MaxWaiting, 0, maxWaiting)
		between(c, at+".max_fills", b.MaxFills, 0, maxFills)
		if named && b.Fallback != "" && !caches[b.Fallback] {
			c.problem(at+".fallback", fmt.Sprintf("there is no file cache named %q", b.Fallback),
				"name a [[file_cache]]"+listed(slices.Sorted(maps.Keys(caches))))
		}
		if b.MaxSize == 0 && b.MaxCount == 0 && b.MaxPercent == 0 {
			c.warn(at, "its cache has no bound and grows until the backend is full", "set max_size, max_count or max_percent")
		}
		if _, uncopied := b.Of.(Uncopied); b.Fallback == "" && !uncopied {
			c.warn(at, "it has no fallback: requests that cannot be cloned are bypassed", "set fallback to a [[file_cache]]")
		}
	}
}

func (c *checker) fileCaches(caches []FileCache) {
	for i := range caches {
		f, at := &caches[i], fmt.Sprintf("file_cache[%d]", i)
		c.dir(at+".path", &f.Path, files)
		c.bounds(at, bounds{f.MaxSize, f.MaxCount, f.MaxPercent, f.MinAge, f.MinHits, f.MaxIdle, f.RemoveUnused})
		if f.MaxSize == 0 && c.set[at+".max_size"] {
			c.problem(at+".max_size", "a file cache is always bounded", "give a size, or leave it out for 10GiB")
		}
	}
}
