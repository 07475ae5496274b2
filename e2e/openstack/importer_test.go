//go:build openstack

package openstack

import (
	"bufio"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// plainURL is where a public image's bytes are read without a token.
type plainURL struct {
	file   string // URL of its data
	id     string
	disk   disk   // what is in it
	data   []byte // its own bytes
	ranged bool   // Glance's store gives parts of them
}

// public makes public images of disks: qcow2 in Glance's store of files, raw in its store on Ceph, which gives no parts.
func (w *world) public(t *testing.T, url string) []plainURL {
	t.Helper()
	files, ceph := newDisk(t, 63, 16*mib, 4*mib), newDisk(t, 64, 8*mib, 4*mib)
	qcow2 := files.qcow2(t)
	inFiles := w.admin.upload(t, qcow2, "qcow2", object{"visibility": "public"})
	w.images = append(w.images, inFiles)
	inCeph := w.uploadTo(t, ceph.path, "rbd")
	w.admin.must(t, call{"PATCH", glanceURL("/" + inCeph), []object{{"op": "replace", "path": "/visibility", "value": "public"}}}, nil)
	all := []plainURL{{id: inFiles, disk: files, ranged: true}, {id: inCeph, disk: ceph}}
	for i, path := range []string{qcow2, ceph.path} {
		var err error
		if all[i].data, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		all[i].file = url + "/v2/images/" + all[i].id + "/file"
	}
	return all
}

// importersRead reads public images as KubeVirt's importer does (CDI, pkg/importer/http-datasource.go and pkg/image/nbdkit.go), with
// the programs that it starts: first those that nobody has cached.
func (w *world) importersRead(t *testing.T, url string) {
	harness.NeedTools(t, "nbdkit", "nbdcopy", "nbdinfo", "qemu-img", "qemu-io")
	log := lab.logged(t, "glance")
	images := w.public(t, url)
	for _, image := range images {
		image.imported(t)
		(front{url: url}).cachedThere(t, w.admin.token, image.id)
		nbd := startNbdkit(t, image.file)
		image.converted(t, nbd.uri)
		wantDownloads(t, image.file, func() int { return wholeDownloads(log(), image.id) }, 1)
	}
	w.outlivesTheDaemon(t, images[0])
	w.readInPartsAtOnce(t, url)
}

// imported reads an image as the importer does in Go: it asks for the size, begins to read, looks at the first bytes, has QEMU look at the
// image by nbdkit meanwhile where parts can be had, and reads the rest, whose digest it compares.
func (p plainURL) imported(t *testing.T) {
	t.Helper()
	ask := func(method string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, p.file, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Add("User-Agent", "cdi-golang-importer")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Length") != strconv.Itoa(len(p.data)) || strings.HasPrefix(answer.Header.Get("Content-Type"), "text/") {
			t.Fatalf("%s: %d %v, want 200 and %d bytes", method, answer.StatusCode, answer.Header, len(p.data))
		}
		return answer
	}
	head := ask(http.MethodHead)
	if err := head.Body.Close(); err != nil {
		t.Fatal(err)
	}
	answer := ask(http.MethodGet)
	defer answer.Body.Close()
	first := make([]byte, 512) // image.MaxExpectedHdrSize
	if _, err := io.ReadFull(answer.Body, first); err != nil {
		t.Fatal(err)
	}
	parts := answer.Header.Get("Accept-Ranges")
	if p.ranged && parts != "bytes" {
		t.Errorf("Accept-Ranges: %q, want bytes", parts)
	}
	if parts != "" { // else the importer leaves it
		nbd := startNbdkit(t, p.file)
		if out := output(t, "qemu-img", "info", "--output=json", nbd.uri); !strings.Contains(out, fmt.Sprintf(`"virtual-size": %d`, p.disk.size)) {
			t.Errorf("qemu-img info while it is read: %s", out)
		}
	}
	sum := sha512.New()
	sum.Write(first)
	if _, err := io.Copy(sum, answer.Body); err != nil {
		t.Fatal(err)
	}
	if want := sha512.Sum512(p.data); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Errorf("the importer read other bytes: SHA-512 %s", hex.EncodeToString(sum.Sum(nil)))
	}
}

// converted reads an image that is kept through nbdkit, and by QEMU's own driver for HTTP.
func (p plainURL) converted(t *testing.T, uri string) {
	t.Helper()
	if size := strings.TrimSpace(output(t, "nbdinfo", "--size", uri)); size != strconv.Itoa(len(p.data)) {
		t.Errorf("nbdinfo: %s bytes, want %d", size, len(p.data))
	}
	got := filepath.Join(t.TempDir(), "got")
	output(t, "nbdcopy", "--request-size=33554432", uri, got)
	if bytesRead, err := os.ReadFile(got); err != nil || !bytes.Equal(bytesRead, p.data) {
		t.Errorf("nbdcopy: %d other bytes, %v", len(bytesRead), err)
	}
	format := map[bool]string{true: "qcow2", false: "raw"}[bytes.HasPrefix(p.data, []byte("QFI\xfb"))]
	for _, from := range []string{uri, fmt.Sprintf(`json:{"driver":%q,"file":{"driver":"http","url":%q}}`, format, p.file)} {
		output(t, "qemu-img", "convert", "-t", "writeback", "-p", "-O", "raw", from, got)
		if fileSum(t, got, p.disk.size) != p.disk.sum {
			t.Errorf("qemu-img convert from %s: another disk", from)
		}
	}
}

// outlivesTheDaemon kills the daemon while nbdkit serves an image of it: what is read then waits until the daemon is there again.
func (w *world) outlivesTheDaemon(t *testing.T, p plainURL) {
	t.Helper()
	nbd := startNbdkit(t, p.file, "retries=600", "retry-delay=1") // however long the daemon takes to start beside other tests
	qemu := exec.CommandContext(t.Context(), "qemu-io", "-r", "-f", "raw", nbd.uri)
	in, err := qemu.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := qemu.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	read := func(at int) string {
		for lines.Scan() {
			if strings.Contains(lines.Text(), fmt.Sprintf("bytes at offset %d", at)) || strings.Contains(lines.Text(), "failed") {
				return lines.Text()
			}
		}
		return fmt.Sprintf("it ended: %v", lines.Err())
	}
	ask := func(at int) { // bytes of 1 MiB at
		if _, err := fmt.Fprintf(in, "read %d %d\n", at, mib); err != nil {
			t.Fatal(err)
		}
	}
	ask(0)
	if got := read(0); !strings.Contains(got, "read 1048576/1048576") {
		t.Errorf("before the daemon is killed: %s", got)
	}
	w.daemon.Kill()
	ask(mib)
	within(t, "nbdkit has found nobody there", func() bool { return strings.Contains(nbd.said(t), "error: pread:") })
	w.daemon.Start(t)
	if got := read(mib); !strings.Contains(got, "read 1048576/1048576") {
		t.Errorf("across a daemon that was killed: %s\n%s", got, nbd.said(t))
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := qemu.Wait(); err != nil {
		t.Error(err)
	}
}

// readInPartsAtOnce reads an image that nobody has cached in parts at once: they are Glance's, and the image is fetched once.
func (w *world) readInPartsAtOnce(t *testing.T, url string) {
	t.Helper()
	d := newDisk(t, 65, 4*mib, 4*mib)
	content, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	id := w.admin.upload(t, d.path, "raw", object{"visibility": "public"})
	w.images = append(w.images, id)
	log := lab.logged(t, "glance")
	var all sync.WaitGroup
	const part = 256 << 10
	for first := 0; first < len(content); first += part {
		all.Go(func() {
			cmd := exec.CommandContext(t.Context(), "curl", "--fail", "--silent", "--show-error", "--range", fmt.Sprintf("%d-%d", first, first+part-1), url+"/v2/images/"+id+"/file")
			if got, err := harness.Output(cmd); err != nil || got != string(content[first:first+part]) {
				t.Errorf("the part at %d: %d bytes, or other ones, %v", first, len(got), err)
			}
		})
	}
	all.Wait()
	(front{url: url}).cachedThere(t, w.admin.token, id)
	wantDownloads(t, "what is read in parts at once", func() int { return wholeDownloads(log(), id) }, 1)
}

// output is what a program prints that has to succeed.
func output(t *testing.T, words ...string) string {
	t.Helper()
	out, err := harness.Output(exec.CommandContext(t.Context(), words[0], words[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// nbdkit serves a URL until the test ends.
type nbdkit struct{ uri, log string }

// startNbdkit starts it as the importer does. options are further ones.
func startNbdkit(t *testing.T, url string, options ...string) nbdkit {
	t.Helper()
	dir := t.TempDir()
	socket, ready, log := filepath.Join(dir, "sock"), filepath.Join(dir, "pid"), filepath.Join(dir, "log")
	words := append([]string{"--foreground", "--readonly", "-U", socket, "--pidfile", ready, "--filter=readahead", "--filter=retry", "-r",
		"curl", "header=User-Agent: cdi-nbdkit-importer", "retry-exponential=no"}, options...)
	cmd := exec.Command("nbdkit", append(words, "url="+url)...)
	to, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	cmd.Stdout, cmd.Stderr = to, to
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	n := nbdkit{"nbd+unix:///?socket=" + socket, log}
	within(t, "nbdkit serves", func() bool { _, err := os.Stat(ready); return err == nil })
	return n
}

// said is what nbdkit has logged.
func (n nbdkit) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(n.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
