//go:build openstack && ceph

package openstack

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rados"
	librbd "github.com/ceph/go-ceph/rbd"
)

// volumeFeatures are those of volumes, Cinder's and ours.
const volumeFeatures = librbd.FeatureLayering | librbd.FeatureExclusiveLock | librbd.FeatureObjectMap | librbd.FeatureFastDiff | librbd.FeatureDeepFlatten

// bareClones are clones of an image-volume by librbd alone, which are removed again.
type bareClones struct {
	conn   *rados.Conn
	io     *rados.IOContext
	parent string
	n      int
}

// newBareClones is to clone the only image-volume of the internal tenant, which lies in the pool.
func newBareClones(b *testing.B, w *world, pool string) *bareClones {
	b.Helper()
	all := w.internal.volumes(b)
	if len(all) == 0 {
		b.Fatal("the internal tenant has no image-volume")
	}
	conn, err := rados.NewConnWithUser("clonecache")
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(conn.ReadConfigFile(lab.cephConf()),
		conn.SetConfigOption("keyring", filepath.Join(lab.dir, "ceph", "client.clonecache.keyring")), conn.Connect()); err != nil {
		b.Fatal(err)
	}
	io, err := conn.OpenIOContext(pool)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { io.Destroy(); conn.Shutdown() })
	return &bareClones{conn: conn, io: io, parent: "volume-" + all[0].ID}
}

// next is how long the next clone takes.
func (c *bareClones) next(b *testing.B) time.Duration {
	b.Helper()
	c.n++
	name := fmt.Sprintf("bare-%d-%d", time.Now().UnixNano(), c.n)
	o := librbd.NewRbdImageOptions()
	defer o.Destroy()
	if err := errors.Join(o.SetUint64(librbd.ImageOptionFeatures, volumeFeatures), o.SetUint64(librbd.ImageOptionCloneFormat, 2)); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	err := librbd.CloneImage(c.io, c.parent, "clonecache", c.io, name, o)
	took := time.Since(begun)
	if err != nil {
		b.Fatalf("clone %s: %v", c.parent, err)
	}
	if err := librbd.RemoveImage(c.io, name); err != nil {
		b.Fatalf("remove %s: %v", name, err)
	}
	return took
}

// BenchmarkInsideCinderVolume measures what a hit on Ceph takes inside cinder-volume, all of Cinder's own work included, beside a
// clone by librbd alone, turn by turn.
//
//	go test -run '^$' -bench InsideCinderVolume -benchtime 1x -tags ceph,pacific,openstack ./e2e/openstack
func BenchmarkInsideCinderVolume(b *testing.B) {
	if b.N > 1 {
		b.Skip("one run is all there is to it: -benchtime 1x")
	}
	const rounds = 30
	w := begin(b)
	defer w.end(b)
	d := newDisk(b, uint64(time.Now().UnixNano()), 64*mib, 48*mib)
	of := wanted{Image: w.upload(b, d.path, "raw", nil), Type: "rbd1"}
	w.demo.make(b, of)
	w.demo.make(b, of)
	bare := newBareClones(b, w, "volumes")
	log := lab.logged(b, "cinder-volume")
	alone := make([]time.Duration, rounds)
	for i := range alone {
		w.demo.make(b, of)
		alone[i] = bare.next(b)
	}
	text := log()
	all, hook, floor := median(inside(b, text)), median(tookOf(b, hitIn, text)), median(alone)
	b.ReportMetric(0, "ns/op")
	b.Logf("inside cinder-volume %v, of that the hook %v, librbd alone %v, ratios %.2f and %.2f", all, hook, floor,
		all.Seconds()/floor.Seconds(), hook.Seconds()/floor.Seconds())
	b.ReportMetric(all.Seconds()/floor.Seconds(), "inside-to-librbd-ratio")
	b.ReportMetric(hook.Seconds()/floor.Seconds(), "hook-to-librbd-ratio")
}

// tookOf are the times that a log tells, by what matches its lines.
func tookOf(b *testing.B, line *regexp.Regexp, log string) []time.Duration {
	b.Helper()
	var all []time.Duration
	for _, m := range line.FindAllStringSubmatch(log, -1) {
		all = append(all, seconds(b, m[2]))
	}
	if len(all) == 0 {
		b.Fatal("cinder-volume's log has no hits")
	}
	return all
}
