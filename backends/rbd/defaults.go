//go:build ceph

package rbd

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// kind is this backend's in Info and in the configuration.
const kind = "rbd"

// complete checks the values and fills the defaults in.
func (c Config) complete() (Config, error) {
	if c.Name == "" || c.Pool == "" {
		return c, fmt.Errorf("name %q, pool %q: both are required", c.Name, c.Pool)
	}
	if c.Timeout < 0 || c.ConnectTimeout < 0 || c.Calls < 0 {
		return c, fmt.Errorf("timeout %v, connect timeout %v, calls %d: none may be negative", c.Timeout, c.ConnectTimeout, c.Calls)
	}
	for _, f := range c.Features {
		if !slices.Contains(FeatureNames, f) {
			return c, fmt.Errorf("feature %q is not one of %s", f, strings.Join(FeatureNames, ", "))
		}
	}
	fill(&c.ImageVolumePool, c.Pool)
	fill(&c.Conf, "/etc/ceph/ceph.conf")
	fill(&c.User, "clonecache")
	fill(&c.ConnectTimeout, 10*time.Second)
	fill(&c.Timeout, 30*time.Second)
	fill(&c.Calls, 32)
	if c.Features == nil {
		c.Features = []string{"layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Holder == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("find the host's name: %w", err)
		}
		c.Holder = host
	}
	return c, nil
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// location is what people call the pool and namespace.
func (c Config) location() string {
	if c.Namespace == "" {
		return c.Pool
	}
	return c.Pool + "/" + c.Namespace
}
