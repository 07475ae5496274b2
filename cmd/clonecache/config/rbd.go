package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clonecache/clonecache/backends/rbd"
)

// The bounds of a Ceph backend's times; docs/configuration.md states them too.
const (
	minCephWait = time.Second
	maxCephWait = time.Hour
)

// rbd checks what belongs to kind "rbd". What is left out is package rbd's to fill in.
func (c *checker) rbd(at string, b *Backend) {
	if b.Pool == "" {
		c.problem(at+".pool", "it is missing", "name the Ceph pool that the volumes are in")
	}
	words := []struct{ key, value string }{
		{"pool", b.Pool}, {"namespace", b.Namespace}, {"image_volume_pool", b.ImageVolumePool}, {"user", b.User},
	}
	for _, w := range words {
		if strings.ContainsAny(w.value, "/@ \x00\n") {
			c.problem(at+"."+w.key, fmt.Sprintf("%q is not a name in Ceph", w.value), "remove '/', '@' and spaces; a namespace has a key of its own")
		}
	}
	if strings.HasPrefix(b.User, "client.") {
		c.problem(at+".user", "it begins with client.", fmt.Sprintf("write user = %q", strings.TrimPrefix(b.User, "client.")))
	}
	for _, f := range b.Features {
		if !slices.Contains(rbd.FeatureNames, f) {
			c.problem(at+".features", fmt.Sprintf("%q is not a feature of RBD images", f), "use "+strings.Join(rbd.FeatureNames, ", "))
		}
	}
	if c.set[at+".features"] && !slices.Contains(b.Features, "layering") {
		c.problem(at+".features", "it lacks layering, without which there are no clones", `add "layering", or leave features out`)
	}
	for _, p := range []*Path{&b.Conf, &b.Keyring} {
		*p = Path(absolute(c.file, string(*p)))
	}
	for _, w := range []struct {
		key   string
		value Duration
	}{{"call_timeout", b.CallTimeout}, {"connect_timeout", b.ConnectTimeout}} {
		if c.set[at+"."+w.key] {
			c.duration(at+"."+w.key, w.value, minCephWait, maxCephWait)
		}
	}
}
