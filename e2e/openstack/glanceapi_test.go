//go:build openstack

package openstack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// frontTables are those of a daemon before Glance, which keeps what is downloaded.
func frontTables(tb testing.TB, url string) string {
	tb.Helper()
	return tables(tb, nil) + fmt.Sprintf("[glance_api]\nlisten = [%q]\nfile_cache = \"files\"\nbackends = [\"files\"]\n", strings.Replace(url, "http://", "tcp://", 1))
}

// download reads an image's data at a Glance, or at what stands before it, and returns its digest.
func (c *cloud) download(tb testing.TB, url, image string) (status int, sum [sha256.Size]byte) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url+"/v2/images/"+image+"/file", http.NoBody)
	if err != nil {
		tb.Error(err)
		return 0, sum
	}
	r.Header.Set("X-Auth-Token", c.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Error(err)
		return 0, sum
	}
	defer answer.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, answer.Body); err != nil {
		tb.Error(err)
	}
	return answer.StatusCode, [sha256.Size]byte(h.Sum(nil))
}

// glance runs the unmodified client as an administrator.
func glance(tb testing.TB, url string, words ...string) string {
	tb.Helper()
	script := `. "$0"; exec /usr/bin/glance --os-image-url "$@"`
	cmd := exec.CommandContext(tb.Context(), "/bin/bash", append([]string{"-c", script, filepath.Join(lab.dir, "openrc-admin"), url}, words...)...)
	cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin")
	out, err := harness.Output(cmd)
	if err != nil {
		tb.Error(err)
	}
	return out
}

// private uploads a raw image that its project alone may see, and returns its bytes too.
func (w *world) private(t *testing.T, seed uint64) (image string, content []byte) {
	t.Helper()
	d := newDisk(t, seed, 16*mib, 8*mib)
	content, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	return w.upload(t, d.path, "raw", object{"visibility": "private"}), content
}

func TestInFrontOfGlance(t *testing.T) {
	url := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
	w := worldOf(t, frontTables(t, url))
	w.daemon.Start(t)
	defer w.end(t)
	image, content := w.private(t, 21)
	log := lab.logged(t, "glance")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if status, sum := w.demo.download(t, url, image); status != http.StatusOK || sum != sha256.Sum256(content) {
				t.Errorf("a download: %d, or other bytes", status)
			}
		})
	}
	all.Wait()
	if status, _ := w.other.download(t, url, image); status != http.StatusNotFound {
		t.Errorf("another project's download: %d, want 404", status)
	}
	wantDownloads(t, "the image", func() int { return wholeDownloads(log(), image) }, 1)
	within(t, "the client lists the image", func() bool { return bytes.Contains([]byte(glance(t, url, "cache-list")), []byte(image)) })
	glance(t, url, "cache-delete", image)
	if list := glance(t, url, "cache-list"); strings.Contains(list, image) {
		t.Errorf("after cache-delete:\n%s", list)
	}
	glance(t, url, "cache-queue", image)
	within(t, "the client's image is cached", func() bool { return strings.Contains(glance(t, url, "cache-list"), "| cached |") })
	glance(t, url, "cache-clear")
	if list := glance(t, url, "cache-list"); strings.Contains(list, image) {
		t.Errorf("after cache-clear:\n%s", list)
	}
}

// An image that was read for a volume in the pool is downloaded from its image-volume: neither of the two downloads is Glance's.
func TestADownloadOfAVolumesImage(t *testing.T) {
	url := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
	w := worldOf(t, frontTables(t, url))
	w.daemon.Start(t)
	defer w.end(t)
	image, content := w.private(t, 22)
	log := lab.logged(t, "glance")
	w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 1})
	if status, _ := w.other.download(t, url, image); status != http.StatusNotFound {
		t.Errorf("another project's download: %d, want 404", status)
	}
	for range 2 {
		if status, sum := w.demo.download(t, url, image); status != http.StatusOK || sum != sha256.Sum256(content) {
			t.Errorf("a download: %d, or other bytes", status)
		}
	}
	wantDownloads(t, "the image, for its volume", func() int { return wholeDownloads(log(), image) }, 1)
}
