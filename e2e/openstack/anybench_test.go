//go:build openstack

package openstack

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
)

// BenchmarkBeforeAnyDriver measures what a hit before any driver takes inside cinder-volume, with Cinder's RBD driver, beside that
// driver's create_cloned_volume: in that very hit, and alone, where Cinder clones a volume, turn by turn.
//
//	go test -run '^$' -bench BeforeAnyDriver -benchtime 1x -tags ceph,pacific,openstack ./e2e/openstack
func BenchmarkBeforeAnyDriver(b *testing.B) {
	if b.N > 1 {
		b.Skip("one run is all there is to it: -benchtime 1x")
	}
	const rounds = 30
	lab.do(b, append([]string{"hook", lab.socket(), "rbd2/volume_driver=clonecache_cinder.driver.ClonecacheDriver",
		"rbd2/clonecache_driver=tests.held.TimedRBDDriver"}, hookKeys...)...)
	defer lab.do(b, append([]string{"hook", lab.socket()}, hookKeys...)...)
	w := worldOf(b, services()+"[[backend]]\nname = \"rbd2\"\nkind = \"cinder\"\nvolume_type = \"rbd2\"\n")
	w.daemon.Start(b)
	defer w.end(b)
	d := newDisk(b, uint64(time.Now().UnixNano()), 64*mib, 48*mib)
	of := wanted{Image: w.upload(b, d.path, "raw", community), Type: "rbd2"}
	w.demo.make(b, of)
	// The internal tenant may not read this image, so that Cinder fills the volume; it is no clone, as the image-volume is none.
	source := w.demo.make(b, wanted{Image: w.upload(b, d.path, "raw", nil), Type: "rbd2"})
	cloneAlone := func() { // and delete it: Cinder's driver deletes no volume beside its clones
		w.demo.delete(b, w.demo.make(b, wanted{From: source.ID, Type: "rbd2"}).ID)
	}
	cloneAlone()
	log := lab.logged(b, "cinder-volume")
	for range rounds {
		w.demo.make(b, of)
		cloneAlone()
	}
	var all, driver, bare []time.Duration
	harness.Until(b, "the log has all hits", func() bool {
		all, driver, bare = hits(b, log())
		return len(all) == rounds && len(bare) == rounds
	})
	b.ReportMetric(0, "ns/op")
	m, own, alone := median(all), median(driver), median(bare)
	b.Logf("inside cinder-volume %v, the driver's own clone in it %v, alone %v, ratios %.2f and %.2f", m, own, alone,
		m.Seconds()/own.Seconds(), m.Seconds()/alone.Seconds())
	b.ReportMetric(m.Seconds()/own.Seconds(), "hit-to-its-clone-ratio")
	b.ReportMetric(m.Seconds()/alone.Seconds(), "hit-to-clone-alone-ratio")
	b.ReportMetric(float64((m - alone).Milliseconds()), "ms-beside-the-clone")
}

var (
	clonedIn = regexp.MustCompile(`create_cloned_volume made (volume-\S+) in ([0-9.]+) s`)
	hitIn    = regexp.MustCompile(`clonecache made (volume-\S+) of \S+: hit in ([0-9.]+) s`)
)

// hits are what cinder-volume's log says of each hit: the whole, and the driver's own clone in it; and how long that clone took
// where it was no hit's.
func hits(b *testing.B, log string) (all, driver, alone []time.Duration) {
	b.Helper()
	cloned := make(map[string]time.Duration)
	for _, m := range clonedIn.FindAllStringSubmatch(log, -1) {
		cloned[m[1]] = seconds(b, m[2])
	}
	for _, m := range hitIn.FindAllStringSubmatch(log, -1) {
		own, there := cloned[m[1]]
		if !there {
			b.Fatalf("%s was made, and never cloned", m[1])
		}
		delete(cloned, m[1])
		all, driver = append(all, seconds(b, m[2])), append(driver, own)
	}
	return all, driver, slices.Collect(maps.Values(cloned))
}

func seconds(b *testing.B, text string) time.Duration {
	b.Helper()
	s, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(s * float64(time.Second))
}
