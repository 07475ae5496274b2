//go:build ceph

package cephbench

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// What the images of the fills are: a disk of 2 GiB with 1.25 GiB of this machine's files in it.
const (
	diskBytes = 2 * gib
	dataBytes = 5 * gib / 4
)

// BenchmarkFillRaw compares the first volume from an image over HTTP, from the request to the answer, with
// the tools that write the same image into an RBD image and nothing more.
func BenchmarkFillRaw(b *testing.B) {
	for b.Loop() {
		f := newFills(b)
		f.against(b, "fill: raw over HTTP, to curl | rbd import -", "web:disk.raw", 1.15, func() {
			harness.Must(b, "bash", "-o", "pipefail", "-c", fmt.Sprintf("curl -sf %s/disk.raw | rbd --conf %s --id %s import - %s/%s/tool",
				f.web.URL, conf(), user, imagesPool, f.namespace))
		})
	}
}

// BenchmarkFillPlain, BenchmarkFillZlib and BenchmarkFillZstd compare first volumes from qcow2 images with
// qemu-img, which writes the same images into an RBD image and nothing more.
func BenchmarkFillPlain(b *testing.B) { fillQCOW2(b, "plain", 1.0) }

func BenchmarkFillZlib(b *testing.B) { fillQCOW2(b, "zlib", 0.7, "-c") }

func BenchmarkFillZstd(b *testing.B) { fillQCOW2(b, "zstd", 0.7, "-c", "-o", "compression_type=zstd") }

func fillQCOW2(b *testing.B, form string, goal float64, options ...string) {
	for b.Loop() {
		f := newFills(b)
		image := filepath.Join(f.daemon.Config.Images, "disk.qcow2")
		harness.Convert(b, f.raw, image, append(options, "-W", "-m", "8")...)
		f.against(b, "fill: qcow2 "+form+", to qemu-img convert", "library:disk.qcow2", goal, func() {
			f.emptyImage(b, "tool")
			harness.Must(b, "qemu-img", "convert", "-n", "-W", "-m", "8", "-f", "qcow2", "-O", "raw", image, f.qemu(imagesPool, "tool"))
		})
	}
}

// fills is a daemon on a site whose fills are compared, and the disk that they are of.
type fills struct {
	*site
	daemon *harness.Daemon
	web    *harness.WebSource
	raw    string
}

func newFills(b *testing.B) *fills {
	b.Helper()
	f := &fills{site: newSite(b), web: harness.ServeWeb(b)}
	f.daemon = f.site.daemon(b, map[string]string{"web": f.web.URL})
	f.raw = filepath.Join(f.web.Dir, "disk.raw")
	harness.MachineDisk(b, f.raw, diskBytes, dataBytes)
	return f
}

// against compares a fill with a tool that makes the image "tool". Beside both it shows the cluster's own rate:
// how long `rbd bench` takes to write as many bytes, in whole objects.
func (f *fills) against(b *testing.B, what, image string, goal float64, tool func()) {
	b.Helper()
	made := func(make func()) contestant {
		return func(int) time.Duration {
			defer func() { check(b, rbd.RemoveImage(f.images, "tool")) }()
			return timed(make)
		}
	}
	took := alternate(
		made(tool),
		func(round int) time.Duration { return f.fill(b, image, round) },
		made(func() { f.writeAsMuch(b, "tool") }))
	atMost(b, what, ratio(took[1], took[0]), goal,
		fmt.Sprintf("%s and %s; rbd bench writes as much in %s", seconds(median(took[1])), seconds(median(took[0])), seconds(median(took[2]))))
}

// writeAsMuch makes an image and writes as many bytes to it as the disk has data.
func (f *fills) writeAsMuch(b *testing.B, name string) {
	b.Helper()
	f.emptyImage(b, name)
	harness.Must(b, "rbd", "--conf", conf(), "--id", user, "bench", "--io-type", "write", "--io-pattern", "seq",
		"--io-size", "4M", "--io-threads", "8", "--io-total", fmt.Sprint(dataBytes), fmt.Sprintf("%s/%s/%s", imagesPool, f.namespace, name))
}

// emptyImage makes the image that qemu-img writes to.
func (f *fills) emptyImage(b *testing.B, name string) {
	b.Helper()
	o := options(b, rbd.FeatureLayering)
	defer o.Destroy()
	check(b, rbd.CreateImage(f.images, name, diskBytes, o))
}

// fill makes the first volume of an image, and then removes volume and entry.
func (f *fills) fill(b *testing.B, image string, round int) time.Duration {
	b.Helper()
	client := f.daemon.Client(b)
	name := backends.VolumeName(fmt.Sprintf("v%d", round))
	defer func() {
		check(b, client.DeleteVolume(b.Context(), "ceph", name))
		_, err := client.DeleteAllEntries(b.Context(), "", true)
		check(b, err)
	}()
	return timed(func() {
		a, err := client.CreateVolume(b.Context(), api.CreateRequest{Image: image, Volume: name}, nil)
		check(b, err)
		if a.Outcome != plugin.Filled {
			b.Fatalf("outcome: got %s (%s), want filled", a.Outcome, a.Detail)
		}
	})
}
