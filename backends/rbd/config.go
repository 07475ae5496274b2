package rbd

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
)

// kind is this backend's in Info and in the configuration.
const kind = "rbd"

// Config says what to open. Name and Pool are required.
type Config struct {
	Name backends.Name

	Pool            string // of the volumes
	Namespace       string // of volumes and image-volumes, in their pools; default: the pools' own
	ImageVolumePool string // default: Pool

	Conf    string // Ceph's configuration file; default: /etc/ceph/ceph.conf
	User    string // cephx user, without "client."; default: clonecache
	Keyring string // that user's; default: what Conf says

	// Features are those of volumes, as `rbd create --image-feature` names them. Default: layering,
	// exclusive-lock, object-map, fast-diff and deep-flatten, which are Ceph's own.
	Features []string

	ConnectTimeout time.Duration // default: 10 s
	// Timeout is how long the cluster may take over one clone, one piece of a fill, one answer; then the
	// call is backends.ErrUnavailable. Removing an image may take ten times as long. Default: 30 s.
	Timeout time.Duration
	Calls   int // how many calls wait for the cluster at once; default: 16

	// Holder names the installation that opens the pool: the same after each restart, another one on
	// another host. What it left when it died, and only that, is settled by itself. Default: the host's
	// name.
	Holder string

	Now func() time.Time   // default: time.Now
	Log logrus.FieldLogger // default: silent
}

// FeatureNames are the words that Config.Features takes.
var FeatureNames = []string{"layering", "striping", "exclusive-lock", "object-map", "fast-diff", "deep-flatten", "journaling"}

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
	fill(&c.Calls, 16)
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
