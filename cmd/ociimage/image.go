package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// userID is of the user and the group that the program runs as; a number that no distribution gives to
// anybody.
const userID = 64055

const (
	socket = "unix:///run/clonecache/clonecache.sock"
	config = "/etc/clonecache/clonecache.toml"
)

// owned are the directories that belong to the program's user.
var owned = []string{"run/clonecache", "var/cache/clonecache", "var/lib/clonecache", "var/lib/volumes", "tmp"}

// write makes the image and puts it into o.out.
func write(o options) error {
	content, err := layerOf(o)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	if image, err = mutate.ConfigFile(image, o.configFile(image)); err != nil {
		return err
	}
	return save(o, image)
}

// configFile says how the image is run.
func (o options) configFile(image v1.Image) *v1.ConfigFile {
	c, err := image.ConfigFile()
	if err != nil {
		return nil // an image of our own always has one
	}
	c = c.DeepCopy()
	c.Architecture, c.OS = runtime.GOARCH, "linux"
	c.Created = v1.Time{Time: o.made}
	for i := range c.History {
		c.History[i].Created = v1.Time{Time: o.made}
	}
	c.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", userID, userID),
		Entrypoint: []string{"/usr/bin/clonecache"},
		Cmd:        []string{"serve", "--config", config},
		Env:        []string{"PATH=/usr/bin", "CLONECACHE_SERVER=" + socket},
		Volumes:    map[string]struct{}{"/var/lib/clonecache": {}},
		StopSignal: "SIGTERM",
		Healthcheck: &v1.HealthConfig{
			Test:     []string{"CMD", "/usr/bin/clonecache", "status", "--server", socket},
			Interval: 30 * time.Second, Timeout: 10 * time.Second, StartPeriod: time.Minute, Retries: 3,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "clonecache",
			"org.opencontainers.image.version":  o.version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return c
}

// layerOf is the image's one layer, a tar archive.
func layerOf(o options) ([]byte, error) {
	program, err := os.ReadFile(o.program)
	if err != nil {
		return nil, err
	}
	var certificates []byte
	if o.certificates != "" {
		if certificates, err = os.ReadFile(o.certificates); err != nil {
			return nil, err
		}
	}
	l := &layerWriter{made: o.made, seen: make(map[string]bool)}
	l.tar = tar.NewWriter(&l.content)
	l.file("etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/:/\nclonecache:x:%d:%[1]d:clonecache:/var/lib/clonecache:/\n", userID))
	l.file("etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\nclonecache:x:%d:\n", userID))
	if certificates != nil {
		l.file("etc/ssl/certs/ca-certificates.crt", 0o644, certificates)
	}
	l.dir("etc/clonecache", 0o755, 0)
	l.dir("var/lib/images", 0o755, 0)
	for _, dir := range owned {
		l.dir(dir, 0o750, userID)
	}
	l.file("usr/bin/clonecache", 0o755, program)
	if l.err == nil {
		l.err = l.tar.Close()
	}
	return l.content.Bytes(), l.err
}

// layerWriter writes files and the directories that lead to them; the first error stays.
type layerWriter struct {
	content bytes.Buffer
	tar     *tar.Writer
	made    time.Time
	seen    map[string]bool
	err     error
}

func (l *layerWriter) dir(name string, mode int64, owner int) {
	for i, c := range name {
		if c == '/' {
			l.one(name[:i], 0o755, 0)
		}
	}
	l.one(name, mode, owner)
}

// one writes a directory, once.
func (l *layerWriter) one(name string, mode int64, owner int) {
	if l.seen[name] || l.err != nil {
		return
	}
	l.seen[name] = true
	l.err = l.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner, ModTime: l.made})
}

func (l *layerWriter) file(name string, mode int64, content []byte) {
	l.dir(name[:strings.LastIndexByte(name, '/')], 0o755, 0)
	if l.err == nil {
		l.err = l.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: l.made})
	}
	if l.err == nil {
		_, l.err = l.tar.Write(content)
	}
}

// save writes an OCI image layout as one tar file: whole, or none.
func save(o options, image v1.Image) error {
	dir, err := os.MkdirTemp(filepath.Dir(o.out), ".oci-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		return err
	}
	named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "clonecache:" + o.version})
	if err := path.AppendImage(image, named); err != nil {
		return err
	}
	draft := filepath.Join(dir, "image.tar")
	if err := pack(string(path), draft, o.made); err != nil {
		return err
	}
	return os.Rename(draft, o.out)
}

// pack writes the files below dir into a tar file, in the order of their names.
func pack(dir, file string, made time.Time) error {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(names)
	out, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(rel), Mode: 0o644, Size: int64(len(content)), ModTime: made}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}
