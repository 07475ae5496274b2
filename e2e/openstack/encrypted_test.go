//go:build openstack

package openstack

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// luksType is a volume type whose volumes are encrypted. The function that it returns deletes it.
func luksType(tb testing.TB) (remove func()) {
	tb.Helper()
	return volumeType(tb, "luks", "--encryption-provider", "luks", "--encryption-cipher", "aes-xts-plain64",
		"--encryption-key-size", "256", "--encryption-control-location", "front-end")
}

// cinderReads has cinder-volume read images there, until the test ends.
func cinderReads(tb testing.TB, url string) {
	tb.Helper()
	lab.do(tb, append([]string{"hook", lab.socket(), "DEFAULT/glance_api_servers=" + url}, hookKeys...)...)
	tb.Cleanup(func() { lab.do(tb, append([]string{"hook", lab.socket()}, hookKeys...)...) })
}

// wholeDownloads counts in Glance's log how often an image's data was sent in full.
func wholeDownloads(log, image string) int {
	return strings.Count(log, fmt.Sprintf(`GET /v2/images/%s/file HTTP/1.1" 200`, image))
}

// What Cinder downloads for encrypted volumes comes once from Glance. Whether QEMU then manages the header (see makeLUKS) is no matter of
// the download; a volume that comes to be is the image.
func TestEncryptedVolumesAreOneDownload(t *testing.T) {
	defer luksType(t)()
	w, f := beginFront(t)
	defer w.end(t)
	cinderReads(t, f.url)
	d := newDisk(t, 53, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", object{"visibility": "private"})
	glance, cinder := lab.logged(t, "glance"), lab.logged(t, "cinder-volume")
	var made []string
	for n := range 2 { // QEMU works on both headers at once
		made = append(made, w.demo.create(t, wanted{Image: image, Type: "luks"}))
		within(t, "Cinder has downloaded the image", func() bool { return len(cinderDownload.FindAllString(cinder(), -1)) > n })
	}
	wantDownloads(t, "the image", func() int { return wholeDownloads(glance(), image) }, 1)
	within(t, "the second volume's bytes count as saved, and nothing else", func() bool { // Cinder has the last byte a moment before
		return w.daemon.Report(t, "--backend", "files").Total.SavedBytes == d.size
	})
	w.demo.settled(t, made[0])
	if v := w.demo.settled(t, made[1]); v.Status == "available" && decrypted(t, v, d.size) != d.sum {
		t.Errorf("volume %s, decrypted, is not the image", v.ID)
	}
}

// header is what QEMU takes for the header of an encrypted volume alone: it derives a key, and finds out first how often a key must be
// derived anew for that to take two seconds of an idle processor.
func header(b *testing.B) time.Duration {
	b.Helper()
	path := filepath.Join(b.TempDir(), "luks")
	for range 20 { // see makeLUKS
		begun := time.Now()
		if exec.Command("qemu-img", "create", "-q", "--object", "secret,id=key,data="+fixedKey, "-f", "luks",
			"-o", "key-secret=key,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64", path, "16M").Run() == nil {
			return time.Since(begun)
		}
	}
	b.Fatal("no header came to be")
	return 0
}

// BenchmarkEncryptedVolumes makes ten encrypted volumes of an image one after another, with Cinder reading it from Glance,
// and then through the daemon, where they are one download. It names the download of each volume as Cinder logs it, and
// the header that QEMU makes for each, which is the same in both. The last volume is the image.
//
//	go test -run '^$' -bench EncryptedVolumes -benchtime 1x -tags ceph,pacific,openstack ./e2e/openstack
func BenchmarkEncryptedVolumes(b *testing.B) {
	if b.N > 1 {
		b.Skip("one run is all there is to it: -benchtime 1x")
	}
	defer luksType(b)()
	w, f := beginFront(b)
	defer w.end(b)
	d := newDisk(b, uint64(time.Now().UnixNano()), 256*mib, 180*mib)
	image := w.upload(b, d.path, "raw", object{"visibility": "private"})
	stock := w.manyEncrypted(b, d, image)
	cinderReads(b, f.url)
	through := w.manyEncrypted(b, d, image)
	b.ReportMetric(0, "ns/op")
	b.Logf("Glance:     %v", stock)
	b.Logf("the daemon: %v", through)
	alone := median([]time.Duration{header(b), header(b), header(b)})
	b.Logf("QEMU's header of a volume alone: %v", alone)
	b.ReportMetric(alone.Seconds()/stock.later.Seconds(), "header-of-stock-ratio")
	if stock.downloads < encryptedVolumes || through.downloads != 1 {
		b.Errorf("downloads from Glance: %d and %d, want %d and 1", stock.downloads, through.downloads, encryptedVolumes)
	}
	b.ReportMetric(through.later.Seconds()/stock.later.Seconds(), "later-volumes-ratio")
	b.ReportMetric(through.download.Seconds()/stock.download.Seconds(), "download-ratio")
}

const encryptedVolumes = 10

// encrypted is what these volumes took: the first, the median of the others, and that of the download within all.
type encrypted struct {
	first, later, download time.Duration
	downloads              int // from Glance
}

func (e encrypted) String() string {
	return fmt.Sprintf("first volume %v, later ones %v; of that the download to the host %v; downloads from Glance: %d", e.first, e.later, e.download, e.downloads)
}

func (w *world) manyEncrypted(b *testing.B, d disk, image string) encrypted {
	b.Helper()
	glance, cinder := lab.logged(b, "glance"), lab.logged(b, "cinder-volume")
	var took []time.Duration
	for len(took) < encryptedVolumes {
		begun := time.Now()
		id := w.demo.create(b, wanted{Image: image, Type: "luks"})
		if v := w.demo.settled(b, id); v.Status == "available" { // see makeLUKS
			took = append(took, time.Since(begun))
			if len(took) == encryptedVolumes && decrypted(b, v, d.size) != d.sum {
				b.Errorf("volume %s, decrypted, is not the image", v.ID)
			}
		}
		w.demo.delete(b, id)
	}
	log := cinder()
	return encrypted{
		first: took[0], later: median(slices.Clone(took[1:])), downloads: wholeDownloads(glance(), image),
		download: median(downloadsOf(b, log)),
	}
}

var cinderDownload = regexp.MustCompile(`Image download ([0-9.]+) MB at ([0-9.]+) MB/s`)

// downloadsOf are how long Cinder's downloads took: it logs how many MB there were, and how many in a second.
func downloadsOf(b *testing.B, log string) []time.Duration {
	b.Helper()
	var took []time.Duration
	for _, m := range cinderDownload.FindAllStringSubmatch(log, -1) {
		took = append(took, time.Duration(float64(seconds(b, m[1]))/seconds(b, m[2]).Seconds()))
	}
	if len(took) == 0 {
		b.Fatal("cinder-volume's log has no downloads")
	}
	return took
}
