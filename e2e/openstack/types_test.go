//go:build openstack

package openstack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// openstackCLI is the operator's command as an administrator.
func openstackCLI(tb testing.TB, words ...string) string {
	tb.Helper()
	cmd := exec.Command("openstack", words...)
	cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+filepath.Join(lab.dir, "clouds.yaml"), "OS_CLOUD=admin")
	out, err := harness.Output(cmd)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// volumeType makes a volume type whose volumes land on the backend rbd1. The function that it returns deletes
// it; by then it has no volumes.
func volumeType(tb testing.TB, name string, options ...string) (remove func()) {
	tb.Helper()
	words := append([]string{"volume", "type", "create", name, "--property", "volume_backend_name=rbd1"}, options...)
	openstackCLI(tb, words...)
	return func() { openstackCLI(tb, "volume", "type", "delete", name) }
}

// fixedKey is the key of all encrypted volumes of the lab, in hexadecimal digits (configure.sh).
var fixedKey = strings.Repeat("1b", 32)

// An encrypted volume is Cinder's alone: clonecache is not asked, nothing is cached, and the volume is what it is
// without the hook.
func TestEncryptedVolumesGoCindersWay(t *testing.T) {
	defer luksType(t)()
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 50, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", nil)
	v := w.demo.makeLUKS(t, wanted{Image: image, Type: "luks"})
	if !v.Encrypted || v.Bootable != "true" {
		t.Errorf("the volume: got encrypted %v and bootable %s, want both", v.Encrypted, v.Bootable)
	}
	if got := decrypted(t, v, d.size); got != d.sum {
		t.Errorf("the volume decrypted: got SHA-256 %s, want the image's %s", got, d.sum)
	}
	if got := w.outcomes(t, "rbd1"); len(got) != 0 {
		t.Errorf("outcomes: got %v, want none: Cinder does not ask", got)
	}
	if entries, q := w.daemon.Entries(t), w.quota(t); len(entries) != 0 || q != (used{}) {
		t.Errorf("got entries %+v and %+v in use of the internal tenant's quota, want none", entries, q)
	}

	plain := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 1})
	sameContent(t, d, plain)
}

// makeLUKS is make, repeated where it comes to an error: QEMU, whom Cinder lets write the volume's header, takes the
// time of a key derivation, and gives up where it finds that none has passed, as on fast machines whose kernel
// counts in ticks.
func (c *cloud) makeLUKS(tb testing.TB, w wanted) volume {
	tb.Helper()
	for range 20 {
		v := c.settled(tb, c.create(tb, w))
		if v.Status == "available" {
			return v
		}
		c.delete(tb, v.ID)
	}
	tb.Fatal("no encrypted volume came to be")
	return volume{}
}

// decrypted is the SHA-256 of the first bytes of an encrypted volume.
func decrypted(tb testing.TB, v volume, size int64) string {
	tb.Helper()
	plain := filepath.Join(tb.TempDir(), "plain")
	image := fmt.Sprintf("driver=luks,key-secret=key,file.driver=rbd,file.pool=volumes,file.image=volume-%s,file.conf=%s,file.user=cinder", v.ID, lab.cephConf())
	out, err := exec.Command("qemu-img", "dd", "--object", "secret,id=key,data="+fixedKey, "--image-opts", "-O", "raw",
		"bs=1M", "count="+strconv.FormatInt(size/mib, 10), "if="+image, "of="+plain).CombinedOutput()
	if err != nil {
		tb.Fatalf("qemu-img dd: %v\n%s", err, out)
	}
	return fileSum(tb, plain, size)
}

// Image-volumes are of the one type that the backend's table names. Volumes of another type on the same Cinder
// backend, which may be kept otherwise, are Cinder's, and the report says why; those of its own type go on hitting.
func TestVolumesOfAnotherTypeGoCindersWay(t *testing.T) {
	defer volumeType(t, "gold")()
	w := begin(t)
	defer w.end(t)
	d := newDisk(t, 51, 16*mib, 8*mib)
	image := w.upload(t, d.path, "raw", nil)
	filled := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	other := w.demo.make(t, wanted{Image: image, Type: "gold"})
	hit := w.demo.make(t, wanted{Image: image, Type: "rbd1"})
	byDefault := w.demo.make(t, wanted{Image: image}) // default_volume_type is rbd1
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 1, plugin.Hit: 2, plugin.Bypassed: 1})
	if got := w.daemon.Report(t, "--backend", "rbd1").Total.Fallbacks; got["unsuitable"] != 1 || len(got) != 1 {
		t.Errorf("fallbacks by reason: got %v, want one, unsuitable", got)
	}
	sameContent(t, d, filled, other, hit, byDefault)
}

// Each Cinder backend has bounds of its own: what is evicted on one stays on the other.
func TestBackendsEvictByThemselves(t *testing.T) {
	w := beginBounded(t, bounds{"rbd1": "max_count = 1", "rbd2": "max_count = 2"})
	defer w.end(t)
	disks, images := make([]disk, 3), make([]string, 3)
	for i := range disks {
		disks[i] = newDisk(t, uint64(52+i), 16*mib, 8*mib)
		images[i] = w.upload(t, disks[i].path, "raw", nil)
	}
	one := func(i int, kind string) {
		t.Helper()
		v := w.demo.make(t, wanted{Image: images[i], Type: kind})
		sameContent(t, disks[i], v)
		w.demo.delete(t, v.ID)
	}
	one(0, "rbd1")
	one(0, "rbd2")
	one(1, "rbd2")
	one(1, "rbd1") // evicts image 0 there
	one(2, "rbd1") // evicts image 1 there
	w.wantCached(t, "rbd1", images[2])
	w.wantCached(t, "rbd2", images[0], images[1])
	one(0, "rbd2")
	one(1, "rbd2")
	w.wantOutcomes(t, "rbd1", map[plugin.Outcome]int64{plugin.Filled: 3})
	w.wantOutcomes(t, "rbd2", map[plugin.Outcome]int64{plugin.Filled: 2, plugin.Hit: 2})

	one(2, "rbd2") // evicts image 0 there, and nothing on rbd1
	w.wantCached(t, "rbd1", images[2])
	w.wantCached(t, "rbd2", images[1], images[2])
	for kind, want := range map[string]int64{"rbd1": 2, "rbd2": 1} {
		if got := w.daemon.Report(t, "--backend", kind).Total.Evictions; got != want {
			t.Errorf("evictions on %s: got %d, want %d", kind, got, want)
		}
	}
	w.untilInUse(t, used{3, 3}) // image-volumes of a GiB
}

// wantCached compares the images whose image-volumes are ready on a backend.
func (w *world) wantCached(tb testing.TB, backend string, images ...string) {
	tb.Helper()
	var got, want []string
	for _, e := range w.daemon.Entries(tb) {
		if string(e.Backend) == backend && e.State == "ready" {
			got = append(got, e.ImageIDs...)
		}
	}
	for _, image := range images {
		want = append(want, "glance:"+image)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		tb.Errorf("images cached on %s: got %q, want %q", backend, got, want)
	}
}
