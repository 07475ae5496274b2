//go:build openstack

package openstack

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// anyDriver are the lab's backends that get the hook for any driver, before the driver that Cinder has for them.
var anyDriver = map[string]string{
	"rbd2": "tests.held.HeldRBDDriver", // Cinder's own, which stands still where a test wants it to
	"nfs2": "cinder.volume.drivers.nfs.NfsDriver",
}

// beginLending is begin with the hook for any driver on two of the backends, NFS with qcow2 files, and a daemon that
// keeps two image-volumes on each. The test defers end, and what is returned before that.
func beginLending(t *testing.T) (w *world, hookBack func()) {
	t.Helper()
	words := append([]string{"hook", lab.socket()}, hookKeys...)
	text := services()
	for backend, driver := range anyDriver {
		words = append(words, backend+"/volume_driver=clonecache_cinder.driver.ClonecacheDriver", backend+"/clonecache_driver="+driver)
		text += fmt.Sprintf("[[backend]]\nname = %q\nkind = \"cinder\"\nvolume_type = %q\nmax_count = 2\nclone_time = \"30s\"\n", backend, backend)
	}
	lab.do(t, append(words, "nfs2/nfs_qcow2_volumes=true")...)
	w = worldOf(t, text)
	w.daemon.Start(t)
	return w, func() { lab.do(t, append([]string{"hook", lab.socket()}, hookKeys...)...) }
}

// community makes an image that everybody may read who knows it, the internal tenant too.
var community = object{"visibility": "community"}

// Before a driver that only Cinder can call, Cinder fills the image-volume and the driver clones it, for all who ask; the
// least recently used goes; and what the quota has no room for is made Cinder's way.
func TestAnyDriverOfCinderIsLentItsImageVolumes(t *testing.T) {
	w, hookBack := beginLending(t)
	defer hookBack()
	defer w.end(t)
	for backend := range anyDriver {
		t.Run(backend, func(t *testing.T) { checkLending(t, w, backend) })
	}
	checkPrivateImage(t, w, "rbd2")
	checkTransferred(t, w, "rbd2")
	checkKilledBeforeTransfer(t, w, "rbd2")
	checkKilledWhileCloning(t, w, "rbd2")
}

// An image that the internal tenant may not read is left to Cinder, and the report says why.
func checkPrivateImage(t *testing.T, w *world, backend string) {
	d := newDisk(t, 75, 16*mib, 8*mib)
	before := w.daemon.Report(t, "--backend", backend).Total.Fallbacks["unsuitable"]
	wantContent(t, d, w.demo.make(t, wanted{Image: w.upload(t, d.path, "raw", nil), Type: backend}))
	if got := w.daemon.Report(t, "--backend", backend).Total.Fallbacks["unsuitable"] - before; got != 1 {
		t.Errorf("fallbacks by reason unsuitable: got %d for a private image, want 1", got)
	}
}

func checkLending(t *testing.T, w *world, backend string) {
	d := newDisk(t, 70, 32*mib, 16*mib)
	image := w.upload(t, d.qcow2(t), "qcow2", community)
	log := lab.logged(t, "glance")
	first := w.demo.createAll(t, 3, wanted{Image: image, Type: backend})
	later := w.demo.make(t, wanted{Image: image, Type: backend, Size: 2})
	got := w.outcomes(t, backend)
	if got[plugin.Filled] != 1 || got[plugin.Filled]+got[plugin.Joined]+got[plugin.Hit] != 4 {
		t.Errorf("outcomes: got %v, want 1 filled and 3 joined or hit", got)
	}
	wantDownloads(t, "the image", func() int { return downloads(log(), image) }, 1)
	for _, v := range append(first, later) {
		wantContent(t, d, v)
		if v.Bootable != "true" || v.Image["image_id"] != image || len(v.Metadata) != 0 {
			t.Errorf("volume %s: got bootable %s, image metadata %v, metadata %v", v.ID, v.Bootable, v.Image, v.Metadata)
		}
	}
	checkLendingOverQuota(t, w, backend)
}

// The quota has room for one image-volume, so that the idle one goes for the next image; and where it has none, Cinder makes
// the volume.
func checkLendingOverQuota(t *testing.T, w *world, backend string) {
	defer w.limit(t, -1)
	make := func(seed uint64) (image string) {
		t.Helper()
		d := newDisk(t, seed, 16*mib, 8*mib)
		image = w.upload(t, d.path, "raw", community)
		wantContent(t, d, w.demo.make(t, wanted{Image: image, Type: backend}))
		return image
	}
	w.limit(t, 1)
	w.wantCached(t, backend, make(71))
	if r := w.daemon.CLI(t, "entry", "delete", "--all"); r.Exit != 0 {
		t.Errorf("entry delete --all: exit %d\n%s%s", r.Exit, r.Stdout, r.Stderr)
	}
	w.limit(t, 0)
	make(72)
	r := w.daemon.Report(t, "--backend", backend).Total
	if r.Fallbacks["over_quota"] != 1 || r.Evictions != 2 {
		t.Errorf("report: got fallbacks %v and %d evictions, want one over_quota and 2", r.Fallbacks, r.Evictions)
	}
}

// wantContent compares a volume with a disk, through whichever driver made it.
func wantContent(t *testing.T, d disk, v volume) {
	t.Helper()
	if _, onCeph := pools[v.VolumeType]; onCeph {
		sameContent(t, d, v)
		return
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if out, err := exec.Command("qemu-img", "convert", "-O", "raw", volumeOn(v.VolumeType, v), plain).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img convert: %v\n%s", err, out)
	}
	if got := fileSum(t, plain, d.size); got != d.sum {
		t.Errorf("volume %s: got SHA-256 %s, want %s", v.ID, got, d.sum)
	}
}
