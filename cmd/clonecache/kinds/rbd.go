package kinds

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
)

// The bounds of a Ceph backend's times; docs/configuration.md states them too.
const (
	minCephWait = time.Second
	maxCephWait = time.Hour
)

// rbdBackend has volumes that are RBD images in a Ceph pool. What is left out is package rbd's to fill in.
type rbdBackend struct {
	Pool            string          `toml:"pool"`
	Namespace       string          `toml:"namespace"`
	ImageVolumePool string          `toml:"image_volume_pool"`
	Conf            config.Path     `toml:"conf"`
	User            string          `toml:"user"`
	Keyring         config.Path     `toml:"keyring"`
	Features        []string        `toml:"features"`
	CallTimeout     config.Duration `toml:"call_timeout"`
	ConnectTimeout  config.Duration `toml:"connect_timeout"`
	inCinder
}

// Check implements config.Settings.
func (b *rbdBackend) Check(t *config.Table) {
	if b.Pool == "" {
		t.Problem("pool", "it is missing", "name the Ceph pool that the volumes are in")
	}
	b.words(t)
	b.features(t)
	t.Absolute(&b.Conf)
	t.Absolute(&b.Keyring)
	if t.Given("call_timeout") {
		t.Duration("call_timeout", b.CallTimeout, minCephWait, maxCephWait)
	}
	if t.Given("connect_timeout") {
		t.Duration("connect_timeout", b.ConnectTimeout, minCephWait, maxCephWait)
	}
	b.check(t)
	if b.ImageVolumes == imageVolumesCinder && b.CinderType != "" && b.Namespace != "" {
		t.Problem("namespace", "Cinder makes volumes in no namespace", `remove it, or set image_volumes = "outside"`)
	}
}

// words refuses what cannot be a name in Ceph.
func (b *rbdBackend) words(t *config.Table) {
	for _, w := range []struct{ key, value string }{
		{"pool", b.Pool}, {"namespace", b.Namespace}, {"image_volume_pool", b.ImageVolumePool}, {"user", b.User},
	} {
		if strings.ContainsAny(w.value, "/@ \x00\n") {
			t.Problem(w.key, fmt.Sprintf("%q is not a name in Ceph", w.value), "remove '/', '@' and spaces; a namespace has a key of its own")
		}
	}
	if id, found := strings.CutPrefix(b.User, "client."); found {
		t.Problem("user", "it begins with client.", fmt.Sprintf("write user = %q", id))
	}
}

func (b *rbdBackend) features(t *config.Table) {
	const key = "features"
	for _, f := range b.Features {
		if !slices.Contains(rbd.FeatureNames, f) {
			t.Problem(key, fmt.Sprintf("%q is not a feature of RBD images", f), "use "+strings.Join(rbd.FeatureNames, ", "))
		}
	}
	if t.Given(key) && !slices.Contains(b.Features, "layering") {
		t.Problem(key, "it lacks layering, without which there are no clones", `add "layering", or leave features out`)
	}
}

// Open implements Backend.
func (b *rbdBackend) Open(ctx context.Context, name backends.Name, h Host) (backends.Backend, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	c := b.config(name, h.Log)
	// What this daemon left half made when it died is known by its instance ID; before there were such, by its
	// host and its state_dir.
	c.Holder, c.Formerly = string(h.Instance), []string{host + ":" + h.StateDir}
	c.Later = true // a cluster that is down does not keep other backends from serving
	return rbd.Open(ctx, c)
}

func (b *rbdBackend) config(name backends.Name, log logrus.FieldLogger) rbd.Config {
	return rbd.Config{
		Name: name, Pool: b.Pool, Namespace: b.Namespace, ImageVolumePool: b.ImageVolumePool,
		Conf: string(b.Conf), User: b.User, Keyring: string(b.Keyring), Features: b.Features,
		Timeout: time.Duration(b.CallTimeout), ConnectTimeout: time.Duration(b.ConnectTimeout), Log: log,
	}
}

// Try implements Backend: it connects to the cluster and looks into its pools.
func (b *rbdBackend) Try(ctx context.Context, t *Part) {
	const remedy = "see docs/ceph.md"
	c := b.config(backends.Name(t.Name), nil)
	fact, err := rbd.Check(ctx, c)
	if err != nil {
		t.Problem("", err, remedy)
		return
	}
	t.Fact("backend %s: %s", t.Name, fact)
	is, err := rbd.Look(ctx, c)
	if err != nil {
		t.Problem("", err, remedy)
		return
	}
	t.belongs("pool", is, "a pool or a namespace of its own")
}

// Expected implements Backend.
func (b *rbdBackend) Expected() backends.Info {
	return backends.Info{Location: b.Pool, CanClone: true, CloneMethod: "rbd-v2"}
}
