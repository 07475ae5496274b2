package e2e

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// formats are the images that the content is proved with; all hold the same disk of real files.
var formats = []struct {
	name    string // of the file in the library
	options []string
}{
	{"disk.raw", nil},
	{"v2.qcow2", []string{"-o", "compat=0.10"}},
	{"plain.qcow2", []string{"-o", "compat=1.1"}},
	{"small-clusters.qcow2", []string{"-o", "cluster_size=4k"}},
	{"large-clusters.qcow2", []string{"-o", "cluster_size=2M"}},
	{"zlib.qcow2", []string{"-c"}},
	{"zstd.qcow2", []string{"-c", "-o", "compression_type=zstd"}},
	{"preallocated.qcow2", []string{"-o", "preallocation=metadata"}},
}

// The first volume and every later one are the bytes that qemu-img reads from the image, and zeroes
// beyond, whether they were cloned or copied.
func TestVolumesAreByteEqualToTheImage(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			d := on(t, kind, harness.Config{})
			for _, f := range formats {
				t.Run(f.name, func(t *testing.T) { checkContent(t, d, kind, f.name, f.options) })
			}
			d.Consistent(t)
		})
	}
}

func checkContent(t *testing.T, d *harness.Daemon, kind, name string, options []string) {
	image := filepath.Join(d.Config.Images, name)
	disk := harness.RealDisk(t)
	format := "qcow2"
	if options == nil {
		format = "raw"
		harness.Must(t, "cp", disk, image)
	} else {
		harness.Convert(t, disk, image, options...)
	}
	oracle := harness.Oracle(t, image, format)
	size := harness.FileSize(t, oracle)
	bytes := harness.FileSize(t, image)

	first := d.Create(t, harness.Volume{Image: "library:" + name, Name: "first-" + name})
	second := d.Create(t, harness.Volume{Image: "library:" + name, Name: "second-" + name, Size: size + 64*mib})
	harness.SameContent(t, first.Path, oracle, size)
	harness.SameContent(t, second.Path, oracle, size+64*mib)

	want := [2]plugin.Answer{
		{Outcome: plugin.Filled, Reason: plugin.ReasonMiss, DownloadedBytes: bytes},
		{Outcome: plugin.Hit, Reason: plugin.ReasonReady},
	}
	if kind == "ext4" {
		want[0].Outcome, want[0].Reason = plugin.Copied, plugin.ReasonCannotClone
		want[1].Outcome, want[1].Reason = plugin.Copied, plugin.ReasonCannotClone
	}
	for i, got := range []plugin.Answer{first, second} {
		if got.Outcome != want[i].Outcome || got.Reason != want[i].Reason || got.DownloadedBytes != want[i].DownloadedBytes {
			t.Errorf("request %d: got %s, %s, %d bytes downloaded; want %s, %s, %d", i+1,
				got.Outcome, got.Reason, got.DownloadedBytes, want[i].Outcome, want[i].Reason, want[i].DownloadedBytes)
		}
	}
}

// A volume that its owner writes to changes neither the image-volume nor another volume.
func TestWritingToAVolumeHarmsNoOther(t *testing.T) {
	d := cloning(t, harness.Config{})
	ref, disk := addImage(t, d, 1)
	a := d.Create(t, harness.Volume{Image: ref, Name: "a"})
	harness.Patch(t, a.Path, 0, []byte("written by a guest")...)
	b := d.Create(t, harness.Volume{Image: ref, Name: "b"})
	harness.SameContent(t, b.Path, disk, imageSize)
}

// Deleting volumes leaves the cache warm, deleting the entry leaves the volumes whole.
func TestVolumesAndEntriesGoIndependently(t *testing.T) {
	d := cloning(t, harness.Config{})
	ref, disk := addImage(t, d, 1)
	for _, name := range []string{"a", "b"} {
		d.Create(t, harness.Volume{Image: ref, Name: name})
	}
	if r := d.CLI(t, "volume", "delete", "a"); r.Exit != 0 {
		t.Fatalf("delete volume: exit %d\n%s", r.Exit, r.Stderr)
	}
	if got := d.Create(t, harness.Volume{Image: ref, Name: "c"}); got.Outcome != plugin.Hit {
		t.Errorf("after a volume was deleted: got %s, want hit", got.Outcome)
	}
	if r := d.CLI(t, "entry", "delete", "--all"); r.Exit != 0 {
		t.Fatalf("delete entries: exit %d\n%s", r.Exit, r.Stderr)
	}
	for _, v := range d.Volumes(t) {
		harness.SameContent(t, v.Path, disk, imageSize)
	}
	if got := len(d.Entries(t)); got != 0 {
		t.Errorf("entries: got %d, want 0", got)
	}
	d.Consistent(t)
}
