//go:build packages

package packages

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// The container image runs as nobody in particular, in a root that has nothing but the program.
func TestTheContainerImageRuns(t *testing.T) {
	dir := t.TempDir()
	command(t, "tar", "-C", dir, "-xf", filepath.Join(dist, "clonecache-"+first+".oci.tar"))
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%+v, %v: want one image", manifest, err)
	}
	if got := manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; got != "clonecache:"+first {
		t.Errorf("its name is %q", got)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	user, _, _ := strings.Cut(config.Config.User, ":")
	if user == "0" || user == "" || user == "root" {
		t.Errorf("it runs as %q", config.Config.User)
	}
	if config.Config.Healthcheck == nil || config.Config.Healthcheck.Test[0] != "CMD" {
		t.Errorf("its health check needs a shell: %+v", config.Config.Healthcheck)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	r := &root{dir: filepath.Join(dir, "root")}
	unpack(t, content, r.dir)
	words := append([]string{"--userspec=" + config.Config.User, r.dir}, config.Config.Entrypoint...)
	if got := command(t, "chroot", append(words, "--version")...); !strings.Contains(got, first) {
		t.Errorf("--version: %q", got)
	}
	if r.exists("/bin/sh") || r.exists("/usr/bin/sh") {
		t.Error("it has a shell")
	}
}

func unpack(t *testing.T, content io.Reader, dir string) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "layer.tar")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, content); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "tar", "-C", dir, "-xpf", archive)
}
