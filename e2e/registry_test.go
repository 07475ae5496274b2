package e2e

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

const (
	layerArchive = "application/vnd.oci.image.layer.v1.tar+gzip"
	layerPlain   = "application/vnd.acme.disk"
	manifestKind = "application/vnd.oci.image.manifest.v1+json"
)

// containers is a registry on loopback that lets user "me" in, and can be made to fail.
type containers struct {
	*httptest.Server
	inner http.Handler

	mu    sync.Mutex
	wants string // the password
	blobs int    // answers with a layer's data
	spoil string // a layer's digest: the last byte of its data is another one
	cut   string // a layer's digest: its data breaks off in the middle, each time
}

func newContainers(t *testing.T) *containers {
	t.Helper()
	c := &containers{wants: "secret", inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *containers) set(change func()) { c.mu.Lock(); defer c.mu.Unlock(); change() }

// downloads are the answers with a layer's data so far.
func (c *containers) downloads() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blobs
}

func (c *containers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	wants := c.wants
	c.mu.Unlock()
	if user, password, _ := r.BasicAuth(); user != "me" || password != wants {
		w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
		c.inner.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	c.blobs++
	spoilt, cut := c.spoil != "" && strings.HasSuffix(r.URL.Path, c.spoil), c.cut != "" && strings.HasSuffix(r.URL.Path, c.cut)
	c.mu.Unlock()
	c.layer(w, r, spoilt, cut)
}

// layer sends a layer's data.
func (c *containers) layer(w http.ResponseWriter, r *http.Request, spoilt, cut bool) {
	answer := httptest.NewRecorder()
	c.inner.ServeHTTP(answer, r)
	body := bytes.Clone(answer.Body.Bytes())
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(answer.Code)
	if spoilt {
		body[len(body)-1] ^= 1
	}
	if cut {
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

func (c *containers) put(t *testing.T, method, path, kind string, body []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("me", "secret")
	r.Header.Set("Content-Type", kind)
	answer, err := c.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		text, _ := io.ReadAll(answer.Body)
		t.Fatalf("%s %s: %d %s", method, path, answer.StatusCode, text)
	}
}

// push makes what a tag names, of one layer, and returns the digests of its manifest and of the layer.
func (c *containers) push(t *testing.T, name, tag, kind string, layer []byte) (ofManifest, ofLayer string) {
	t.Helper()
	digest := func(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
	for _, b := range [][]byte{layer, []byte("{}")} {
		c.put(t, http.MethodPost, "/v2/disks/"+name+"/blobs/uploads/?digest="+digest(b), "application/octet-stream", b)
	}
	text := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},
		"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`, manifestKind, digest([]byte("{}")), kind, digest(layer), len(layer))
	c.put(t, http.MethodPut, "/v2/disks/"+name+"/manifests/"+tag, manifestKind, text)
	return digest(text), digest(layer)
}

// containerdisk is a layer with a disk in it, as KubeVirt has them.
func containerdisk(t *testing.T, disk []byte) []byte {
	t.Helper()
	var layer bytes.Buffer
	z := gzip.NewWriter(&layer)
	w := tar.NewWriter(z)
	err := w.WriteHeader(&tar.Header{Name: "disk/disk.img", Typeflag: tar.TypeReg, Size: int64(len(disk)), Mode: 0o444})
	if err == nil {
		_, err = w.Write(disk)
	}
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return layer.Bytes()
}

// reading starts a daemon whose source "registry" is this one, with a file for its password, which is right. more are tables of the
// configuration.
func (c *containers) reading(t *testing.T, more string) (d *harness.Daemon, password string) {
	t.Helper()
	password = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return harness.Start(t, harness.Config{Tables: fmt.Sprintf(`
[[image_source]]
name = "registry"
kind = "oci"
url = %q
user = "me"
password_file = %q

[[backend]]
name = "local"
kind = "file"
path = %q
%s`, c.URL+"/disks", password, filesystem(t, "xfs"), more)}), password
}

// createOf makes a volume, and wants the bytes of a disk in it.
func createOf(t *testing.T, c *api.Client, image, volume string, disk []byte) plugin.Answer {
	t.Helper()
	a, err := c.CreateVolume(t.Context(), api.CreateRequest{Image: image, Volume: backends.VolumeName(volume)}, nil)
	if err != nil {
		t.Fatalf("%s of %s: %v", volume, image, err)
	}
	got, err := os.ReadFile(a.Path)
	if err != nil || !bytes.HasPrefix(got, disk) || len(bytes.TrimLeft(got[len(disk):], "\x00")) > 0 {
		t.Errorf("%s of %s has other bytes (%v)", volume, image, err)
	}
	return a
}

// A disk in a container and one that is an artifact by itself are filled once by their tag and by their digest, then each is a hit.
func TestDisksOfARegistryAreFilledAndHit(t *testing.T) {
	r := newContainers(t)
	packed, plain := randomDisk(1), randomDisk(2)
	ofPacked, _ := r.push(t, "fedora", "41", layerArchive, containerdisk(t, packed))
	ofPlain, _ := r.push(t, "debian", "13", layerPlain, plain)
	d, _ := r.reading(t, "")
	c := d.Client(t)
	for i, tt := range []struct {
		image string
		disk  []byte
	}{
		{"registry:fedora:41", packed}, {"registry:fedora@" + ofPacked, packed},
		{"registry:debian:13", plain}, {"registry:debian@" + ofPlain, plain},
	} {
		createOf(t, c, tt.image, fmt.Sprintf("first-%d", i), tt.disk)
		before := r.downloads()
		if a := createOf(t, c, tt.image, fmt.Sprintf("second-%d", i), tt.disk); a.Outcome != plugin.Hit || r.downloads() != before {
			t.Errorf("%s: %+v and %d downloads, want a hit and none", tt.image, a, r.downloads()-before)
		}
	}
	d.Consistent(t)
}

// randomDisk is 1 MiB that does not compress, and is another one for each seed.
func randomDisk(seed byte) []byte {
	disk := make([]byte, 0, 1<<20)
	for block := sha256.Sum256([]byte{seed}); len(disk) < cap(disk); block = sha256.Sum256(block[:]) {
		disk = append(disk, block[:]...)
	}
	return disk
}

// A tag that is moved and followed: the disk that it named is superseded, and the first request of the new one is a hit.
func TestATagThatIsMovedIsFollowed(t *testing.T) {
	r := newContainers(t)
	old, fresh := randomDisk(3), randomDisk(4)
	r.push(t, "fedora", "latest", layerArchive, containerdisk(t, old))
	d, _ := r.reading(t, "\n[[follow]]\nsource = \"registry\"\nimage = \"fedora:latest\"\nevery = \"1h\"\n")
	c := d.Client(t)
	sweep(t, c)
	awaitEntries(t, c, 1, 0)
	if a := createOf(t, c, "registry:fedora:latest", "old", old); a.Outcome != plugin.Hit {
		t.Errorf("before it was moved: %+v, want a hit", a)
	}
	r.push(t, "fedora", "latest", layerArchive, containerdisk(t, fresh))
	sweep(t, c)
	awaitEntries(t, c, 1, 1)
	if a := createOf(t, c, "registry:fedora:latest", "new", fresh); a.Outcome != plugin.Hit {
		t.Errorf("after it was moved: %+v, want a hit", a)
	}
	d.Consistent(t)
}

// awaitEntries waits until so many entries are current, and so many superseded.
func awaitEntries(t *testing.T, c *api.Client, current, superseded int) {
	t.Helper()
	harness.Until(t, fmt.Sprintf("%d entries are current, %d superseded", current, superseded), func() bool {
		count := map[bool]int{}
		for _, e := range entries(t, c) {
			count[e.SupersededAt != nil]++
		}
		return count[false] == current && count[true] == superseded
	})
}

// What a registry gives wrong is refused with a sentence, and nothing is left over.
func TestWhatARegistryGivesWrong(t *testing.T) {
	r := newContainers(t)
	_, packed := r.push(t, "packed", "1", layerArchive, containerdisk(t, randomDisk(5)))
	_, plain := r.push(t, "plain", "1", layerPlain, randomDisk(6))
	d, password := r.reading(t, "")
	c := d.Client(t)
	for _, tt := range []struct {
		name, image, code    string
		spoil, cut, password string
	}{
		{name: "a packed layer of another digest", image: "packed:1", spoil: packed, code: "digest_mismatch"},
		{name: "a plain layer of another digest", image: "plain:1", spoil: plain, code: "digest_mismatch"},
		{name: "a packed layer that is cut", image: "packed:1", cut: packed, code: "image_truncated"},
		{name: "no such tag", image: "plain:2", code: "image_not_found"},
		{name: "a wrong login", image: "plain:1", password: "other", code: "source_login"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.set(func() { r.spoil, r.cut, r.wants = tt.spoil, tt.cut, cmp.Or(tt.password, "secret") })
			_, err := c.CreateVolume(t.Context(), api.CreateRequest{Image: "registry:" + tt.image, Volume: "v"}, nil)
			var e *api.Error
			if !errors.As(err, &e) || e.Code != tt.code || e.Message == "" {
				t.Errorf("got %v, want %s", err, tt.code)
			}
		})
	}
	if left := entries(t, c); len(left) != 0 || len(d.Volumes(t)) != 0 {
		t.Errorf("left: %+v and volumes %+v", left, d.Volumes(t))
	}
	if err := os.WriteFile(password, []byte("other\n"), 0o600); err != nil { // what the registry wants by now
		t.Fatal(err)
	}
	createOf(t, c, "registry:packed:1", "packed", randomDisk(5))
	createOf(t, c, "registry:plain:1", "plain", randomDisk(6))
	d.Consistent(t)
}
