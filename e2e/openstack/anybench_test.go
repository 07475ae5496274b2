//go:build openstack

package openstack

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/e2e/harness"
)

// BenchmarkBeforeAnyDriver measures what a hit before any driver takes inside cinder-volume, beside the driver's own
// create_cloned_volume in that very hit, with Cinder's RBD driver.
//
//	go test -run '^$' -bench BeforeAnyDriver -benchtime 1x -tags ceph,pacific,openstack ./e2e/openstack
func BenchmarkBeforeAnyDriver(b *testing.B) {
	if b.N > 1 {
		b.Skip("one run is all there is to it: -benchtime 1x")
	}
	lab.do(b, append([]string{"hook", lab.socket(), "rbd2/volume_driver=clonecache_cinder.driver.ClonecacheDriver",
		"rbd2/clonecache_driver=cinder.volume.drivers.rbd.RBDDriver"}, hookKeys...)...)
	defer lab.do(b, append([]string{"hook", lab.socket()}, hookKeys...)...)
	w := worldOf(b, services()+"[[backend]]\nname = \"rbd2\"\nkind = \"cinder\"\nvolume_type = \"rbd2\"\n")
	w.daemon.Start(b)
	defer w.end(b)
	d := newDisk(b, uint64(time.Now().UnixNano()), 64*mib, 48*mib)
	of := wanted{Image: w.upload(b, d.path, "raw", community), Type: "rbd2"}
	w.demo.make(b, of)
	log := lab.logged(b, "cinder-volume")
	for range 30 {
		w.demo.make(b, of)
	}
	var all, driver, beside []time.Duration
	harness.Until(b, "the log has all hits", func() bool { all, driver, beside = hits(b, log()); return len(all) == 30 })
	b.ReportMetric(0, "ns/op")
	m, own, more := median(all), median(driver), median(beside)
	b.Logf("inside cinder-volume %v, the driver's own clone %v, beside it %v, ratio %.2f", m, own, more, m.Seconds()/own.Seconds())
	b.ReportMetric(m.Seconds()/own.Seconds(), "hit-to-clone-ratio")
	b.ReportMetric(float64(more.Milliseconds()), "ms-beside-the-clone")
}

var (
	clonedIn = regexp.MustCompile(`(volume-\S+) is cloned from image-volume \S+ in ([0-9.]+) s`)
	hitIn    = regexp.MustCompile(`clonecache made (volume-\S+) of \S+: hit in ([0-9.]+) s`)
)

// hits are what cinder-volume's log says of each hit: the whole, the driver's own clone, and what is beside it.
func hits(b *testing.B, log string) (all, driver, beside []time.Duration) {
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
		whole := seconds(b, m[2])
		all, driver, beside = append(all, whole), append(driver, own), append(beside, whole-own)
	}
	return all, driver, beside
}

func seconds(b *testing.B, text string) time.Duration {
	b.Helper()
	s, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(s * float64(time.Second))
}
