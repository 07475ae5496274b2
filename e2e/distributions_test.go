package e2e

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
)

// published are disk images as distributions publish them: the file's name, what it is packed with, and the
// list beside it, in which NAME, S256 and S512 stand for the image's. A code is of the refusal of what is none.
var published = []struct {
	path, pack  string // below the server; "": raw, "qcow2", "tar", or a program that compresses
	list, lines string // "": none
	redirect    bool   // to a mirror
	rule        string
}{
	{path: "debian/debian-12-generic-amd64.qcow2", pack: "qcow2", list: "SHA512SUMS", lines: "S512  NAME\n"},
	{path: "debian/debian-12-generic-amd64.raw", list: "SHA512SUMS", lines: "S512  NAME\n"},
	{path: "debian/debian-12-generic-amd64.tar.xz", pack: "tar", rule: "archive"},
	{path: "ubuntu/noble-server-cloudimg-amd64.img", pack: "qcow2", list: "SHA256SUMS", lines: "S256 *NAME\n"},
	{path: "fedora/Fedora-Cloud-Base-Generic-41-1.4.x86_64.qcow2", pack: "qcow2", redirect: true, list: "Fedora-Cloud-41-1.4-x86_64-CHECKSUM",
		lines: "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# NAME: 1 bytes\nSHA256 (NAME) = S256\n-----BEGIN PGP SIGNATURE-----\nabcd\n-----END PGP SIGNATURE-----\n"},
	{path: "centos/CentOS-Stream-GenericCloud-9-latest.x86_64.qcow2", pack: "qcow2", list: "CHECKSUM", lines: "# NAME: 1 bytes\nSHA256 (NAME) = S256\n"},
	{path: "centos2/CentOS-Stream-GenericCloud-9-latest.x86_64.qcow2", pack: "qcow2", list: "NAME.SHA256SUM", lines: "SHA256 (NAME) = S256\n"},
	{path: "opensuse/openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2", pack: "qcow2", redirect: true, list: "NAME.sha256", lines: "S256  openSUSE-Leap-15.6-Minimal-VM.x86_64-15.6.0-Cloud-Build16.21.qcow2\n"},
	{path: "alpine/nocloud_alpine-3.20.3-x86_64-bios-cloudinit-r0.qcow2", pack: "qcow2", list: "NAME.sha512", lines: "S512\n"},
	{path: "freebsd/FreeBSD-14.1-RELEASE-amd64.raw.xz", pack: "xz", list: "CHECKSUM.SHA512", lines: "SHA512 (NAME) = S512\n"},
	{path: "freebsd/FreeBSD-14.1-RELEASE-amd64.qcow2.xz", pack: "qcow2 xz", list: "CHECKSUM.SHA256", lines: "SHA256 (NAME) = S256\n"},
	{path: "cirros/cirros-0.6.2-x86_64-disk.img", pack: "qcow2", redirect: true, list: "MD5SUMS", lines: "0123456789abcdef0123456789abcdef  NAME\n"},
	{path: "talos/nocloud-amd64.raw.xz", pack: "xz", list: "sha256sum.txt", lines: "S256  _out/NAME\n"},
	{path: "talos/metal-amd64.raw.zst", pack: "zstd", list: "sha512sum.txt", lines: "S512  _out/NAME\n"},
}

// Images of distributions, by the URLs at which they are, with their lists and redirects, become volumes of
// what is in them, or are refused with the rule that says why.
func TestImagesOfDistributions(t *testing.T) {
	harness.NeedTools(t, "qemu-img", "xz", "zstd", "tar")
	root := t.TempDir()
	mirrored := map[string]bool{}
	for _, p := range published {
		mirrored["/"+p.path] = p.redirect
	}
	files := http.FileServer(http.Dir(root))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if mirrored[r.URL.Path] {
			http.Redirect(w, r, "/mirror"+r.URL.Path, http.StatusFound)
			return
		}
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/mirror")
		files.ServeHTTP(w, r)
	}))
	defer server.Close()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	harness.SmallDisk(t, disk, 7, imageSize, imageSize)
	d := cloning(t, harness.Config{Web: map[string]string{"web": server.URL}})
	for i, p := range published {
		t.Run(p.path, func(t *testing.T) {
			file := filepath.Join(root, p.path)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			pack(t, disk, file, p.pack)
			list(t, file, p.list, p.lines)
			v := harness.Volume{Image: server.URL + "/" + p.path, Name: fmt.Sprintf("v%d", i)}
			if p.rule != "" {
				if _, answer, failed := d.TryCreate(t, v); failed.Code != "image_refused" || failed.Rule != p.rule {
					t.Errorf("got %+v, %+v, want a refusal by rule %s", answer, failed, p.rule)
				}
				return
			}
			harness.SameContent(t, d.Create(t, v).Path, disk, imageSize)
		})
	}
	d.Consistent(t)
}

// pack makes an image of a raw disk.
func pack(t *testing.T, disk, file, with string) {
	t.Helper()
	format, program := "raw", with
	if rest, ok := strings.CutPrefix(with, "qcow2"); ok {
		format, program = "qcow2", strings.TrimSpace(rest)
	}
	harness.Must(t, "qemu-img", "convert", "-O", format, disk, file+".tmp")
	switch program {
	case "":
		harness.Must(t, "mv", file+".tmp", file)
	case "tar":
		harness.Must(t, "tar", "-cJf", file, "-C", filepath.Dir(file), filepath.Base(file)+".tmp")
	default:
		harness.Must(t, "sh", "-c", fmt.Sprintf("%s -c %s >%s", program, file+".tmp", file))
	}
}

// list writes the list of digests beside an image.
func list(t *testing.T, file, name, lines string) {
	t.Helper()
	if name == "" {
		return
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Base(file)
	text := strings.NewReplacer("NAME", base, "S256", fmt.Sprintf("%x", sha256.Sum256(content)), "S512", fmt.Sprintf("%x", sha512.Sum512(content))).Replace(lines)
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), strings.Replace(name, "NAME", base, 1)), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
