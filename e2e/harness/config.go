package harness

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Config is what a test wants of its daemon. The zero value is a backend "local" without bounds, a
// file cache "files" behind it, a directory source "library", and an unlimited internal tenant.
type Config struct {
	Volumes  string            // the backend's directory; "": below the daemon's directory
	Cache    string            // the file cache's directory; "": below the daemon's directory
	Images   string            // the directory source's; "": below the daemon's directory
	Web      map[string]string // HTTP sources: name → URL
	Fallback Fallback
	Ceph     *Ceph   // a backend "ceph"; nil: none
	Catalog  Catalog // on a server; zero: in state_dir

	MaxSize, CacheMaxSize   string // as in the file: "100MiB"; "": no bound
	MaxCount, CacheMaxCount int    // 0: no bound
	MaxVolumes              int    // the internal tenant's quota; 0: unlimited
	MaxGigabytes            int
	KeepForQuota            bool // evict_for_quota = false

	Listen         string // where it listens too: "tcp://127.0.0.1:8780"; "": on its socket alone
	StopTimeout    string // "": the default
	ScratchMaxSize string // "": the default

	// Tables is the rest of the file, instead of what all fields above but Listen, StopTimeout and ScratchMaxSize say.
	Tables string
}

// Fallback says whether the backend has the file cache to fall back on.
type Fallback int

// The zero Fallback is the file cache.
const (
	ToFileCache Fallback = iota
	NoFallback
)

// write writes the configuration file and makes the directories that it names.
func (c *Config) write(tb testing.TB, dir, socket string) string {
	tb.Helper()
	for _, d := range []struct {
		path *string
		name string
	}{{&c.Volumes, "volumes"}, {&c.Cache, "cache"}, {&c.Images, "images"}} {
		if *d.path == "" {
			*d.path = filepath.Join(dir, d.name)
		}
		if err := os.MkdirAll(*d.path, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	path := filepath.Join(dir, "clonecache.toml")
	if err := os.WriteFile(path, []byte(c.text(dir, socket)), 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

func (c *Config) text(dir, socket string) string {
	var b strings.Builder
	line := func(key string, value any) {
		switch v := value.(type) {
		case string:
			if v != "" {
				fmt.Fprintf(&b, "%s = %q\n", key, v)
			}
		case int:
			if v != 0 {
				fmt.Fprintf(&b, "%s = %d\n", key, v)
			}
		}
	}
	line("state_dir", filepath.Join(dir, "state"))
	fmt.Fprintf(&b, "listen = [%q", socket)
	if c.Listen != "" {
		fmt.Fprintf(&b, ", %q", c.Listen)
	}
	b.WriteString("]\n")
	line("log_level", "debug")
	line("stop_timeout", c.StopTimeout)
	line("scratch_max_size", c.ScratchMaxSize)
	if c.Tables != "" {
		return b.String() + c.Tables
	}
	b.WriteString(c.Catalog.Text())
	fmt.Fprintf(&b, "[internal_tenant]\nkind = \"local\"\n")
	line("max_volumes", c.MaxVolumes)
	line("max_gigabytes", c.MaxGigabytes)
	fmt.Fprintf(&b, "[[image_source]]\nname = \"library\"\nkind = \"directory\"\n")
	line("path", c.Images)
	for _, name := range slices.Sorted(maps.Keys(c.Web)) {
		fmt.Fprintf(&b, "[[image_source]]\nname = %q\nkind = \"http\"\nurl = %q\n", name, c.Web[name])
	}
	bounds := func() {
		line("max_size", c.MaxSize)
		line("max_count", c.MaxCount)
		if c.KeepForQuota {
			fmt.Fprintf(&b, "evict_for_quota = false\n")
		}
		if c.Fallback == ToFileCache {
			line("fallback", "files")
		}
	}
	if c.Ceph == nil || c.Ceph.BesideLocal {
		fmt.Fprintf(&b, "[[backend]]\nname = \"local\"\nkind = \"file\"\n")
		line("path", c.Volumes)
		bounds()
	}
	if c.Ceph != nil {
		fmt.Fprintf(&b, "[[backend]]\nname = \"ceph\"\nkind = \"rbd\"\n")
		c.Ceph.write(line)
		bounds()
	}
	fmt.Fprintf(&b, "[[file_cache]]\nname = \"files\"\n")
	line("path", c.Cache)
	line("max_size", c.CacheMaxSize)
	line("max_count", c.CacheMaxCount)
	return b.String()
}
