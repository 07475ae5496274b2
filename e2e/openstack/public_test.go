//go:build openstack

package openstack

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// ranged asks for the first ten bytes of an image's data, or for its description, without a token.
func ranged(t *testing.T, method, url, image string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url+"/v2/images/"+image+"/file", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=0-9")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// Public images are read by their plain URLs, as KubeVirt's importer, qemu-img and curl read them: one download from Glance. What is not
// public and active is answered as Glance answers who brings no token.
func TestPublicImagesWithoutAToken(t *testing.T) {
	url := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
	w := worldOf(t, frontTables(t, url)+"anonymous_public = true\n")
	w.daemon.Start(t)
	defer w.end(t)
	d, small := newDisk(t, 61, 16*mib, 8*mib), newDisk(t, 62, mib, mib)
	upload := func(of disk, more object) string {
		id := w.admin.upload(t, of.path, "raw", more)
		w.images = append(w.images, id)
		return id
	}
	make := func(more object) string { return upload(small, more) }
	public := object{"visibility": "public"}
	image, deactivated, deleted := upload(d, public), make(public), make(public)
	others := map[string]string{
		"private": make(object{"visibility": "private"}), "shared": make(object{"visibility": "shared"}), "community": make(object{"visibility": "community"}),
		"hidden": make(object{"visibility": "public", "os_hidden": true}), "deactivated": deactivated, "deleted": deleted, "absent": "99999999-9999-4999-8999-999999999999",
	}
	for _, id := range others {
		w.admin.try(t, call{"PUT", url + "/v2/cache/" + id, nil}, nil)
	}
	within(t, "all others but the absent one are kept", func() bool {
		return len((front{url: url}).state(t, w.admin.token).Cached) == len(others)-1
	})
	w.admin.must(t, call{"POST", glanceURL("/" + deactivated + "/actions/deactivate"), nil}, nil)
	w.admin.must(t, call{"DELETE", glanceURL("/" + deleted), nil}, nil)

	log := lab.logged(t, "glance")
	answer, _ := ranged(t, http.MethodHead, url, image)
	if answer.StatusCode != http.StatusOK || answer.ContentLength != d.size || answer.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("HEAD: %d, %d bytes, %v", answer.StatusCode, answer.ContentLength, answer.Header)
	}
	// A Glance on MariaDB finds an image by its ID in upper case too: so does who has no token.
	w.admin.must(t, call{"GET", glanceURL("/" + strings.ToUpper(image)), nil}, nil)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		upper, text := ranged(t, method, url, strings.ToUpper(image))
		if want := map[string]int{http.MethodHead: http.StatusOK, http.MethodGet: http.StatusPartialContent}[method]; upper.StatusCode != want || upper.Header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s, in upper case: %d %v %q, want %d", method, upper.StatusCode, upper.Header, text, want)
		}
	}
	file := url + "/v2/images/" + image + "/file"
	within(t, "it is fetched ahead", func() bool { return wholeDownloads(log(), image) == 1 })
	got := filepath.Join(t.TempDir(), "got")
	for _, words := range [][]string{
		{"curl", "--fail", "--silent", "--show-error", "--output", got, file},
		{"curl", "--fail", "--silent", "--show-error", "--output", got, "--range", "0-8388607", file},
		{"curl", "--fail", "--silent", "--show-error", "--output", got, "--continue-at", "8388608", file},
		{"qemu-img", "convert", "-f", "raw", "-O", "raw", file, got},
	} {
		if out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", words, err, out)
		}
		if !strings.Contains(strings.Join(words, " "), "--range") && fileSum(t, got, d.size) != d.sum {
			t.Errorf("%q: other bytes", words)
		}
	}
	if n := wholeDownloads(log(), image); n != 1 {
		t.Errorf("%d downloads from Glance, want 1", n)
	}
	for what, id := range others {
		for _, c := range []struct{ method, id string }{{http.MethodGet, id}, {http.MethodHead, id}, {http.MethodGet, strings.ToUpper(id)}} {
			ours, text := ranged(t, c.method, url, c.id)
			theirs, want := ranged(t, c.method, lab.url(1, ""), c.id)
			ours.Header.Del("Date")
			theirs.Header.Del("Date")
			for _, h := range []http.Header{ours.Header, theirs.Header} {
				h.Del("X-Openstack-Request-Id")
			}
			if ours.StatusCode != http.StatusUnauthorized || ours.StatusCode != theirs.StatusCode || text != want || fmt.Sprint(ours.Header) != fmt.Sprint(theirs.Header) {
				t.Errorf("%s of what is %s, as %s: got %d %v %q, want %d %v %q", c.method, what, c.id, ours.StatusCode, ours.Header, text, theirs.StatusCode, theirs.Header, want)
			}
		}
		if n := downloads(log(), id); n != 0 {
			t.Errorf("data of what is %s was asked for %d times", what, n)
		}
	}
	w.importersRead(t, url)
}
