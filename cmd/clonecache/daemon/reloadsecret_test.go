package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin/api"
)

// A secret that a check of the configuration misses keeps a reload from it, too; one of a source that is there already keeps none from
// what else has changed.
func TestAReloadMissesTheSecretsThatACheckMisses(t *testing.T) {
	registry := kinds.All()
	registry.Backends["toy"] = kinds.Kind[kinds.Backend]{New: func() kinds.Backend { return &toy{Colour: "red"} }}
	cfg, dir := parseWith(t, registry, withToy)
	writeImage(t, dir)
	next := withToy + `[[image_source]]
name = "web"
kind = "http"
url = "https://127.0.0.1:1"
user = "u"
password_file = "secret"
`
	parsed := func() (config.Config, error) { return registry.Parse([]byte(next), filepath.Join(dir, "c.toml")) }
	d := runWith(t, cfg, Options{Reload: parsed})

	const key = "image_source[1].password_file"
	cfg, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	nobody, cancel := context.WithCancel(t.Context())
	cancel()
	if found := Try(nobody, cfg).Problems; !slices.ContainsFunc(found, func(p config.Problem) bool { return p.Key == key }) {
		t.Errorf("check: got %+v, want %s", found, key)
	}
	_, err = d.Reload(t.Context())
	if e := (*api.Error)(nil); !errors.As(err, &e) || e.Code != "bad_configuration" || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("reload: got %v, want %s told and nothing changed", err, key)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("s3cr3t"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Reload(t.Context()); err != nil || len(got.Changed) != 1 {
		t.Errorf("reload: got %+v, %v, want the source in effect", got, err)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	next = "log_level = \"debug\"\n" + next
	if got, err := d.Reload(t.Context()); err != nil || len(got.Changed) != 1 {
		t.Errorf("reload: got %+v, %v, want the log level in effect", got, err)
	}
}
