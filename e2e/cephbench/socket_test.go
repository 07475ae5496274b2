//go:build ceph

package cephbench

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// BenchmarkSocket measures what a hit over the daemon's socket takes beyond what the library says that it
// took for the same request. Two hits differ by more than that: a clone takes tens of milliseconds.
func BenchmarkSocket(b *testing.B) {
	const hits = 80 * rounds
	for b.Loop() {
		s := newSite(b)
		d := s.daemon(b, nil)
		harness.SmallDisk(b, filepath.Join(d.Config.Images, "disk.raw"), 0, imageBytes, imageData)
		client := d.Client(b)
		var whole, added []time.Duration
		for n := range hits + 1 {
			var a plugin.Answer
			took := timed(func() {
				var err error
				a, err = client.CreateVolume(b.Context(), api.CreateRequest{Image: "library:disk.raw", Volume: backends.VolumeName(fmt.Sprintf("v-%d", n))}, nil)
				check(b, err)
			})
			if n > 0 { // the first one fills
				whole = append(whole, took)
				added = append(added, took-time.Duration(a.TookMS*float64(time.Millisecond)))
			}
		}
		atMost(b, "hit: p50 added by the socket, ms", median(added).Seconds()*1000, 0.5, "of "+milliseconds(median(whole)))
	}
}

// daemon starts the program as users build it, without failpoints.
func (s *site) daemon(b *testing.B, web map[string]string) *harness.Daemon {
	b.Helper()
	d := harness.New(b, harness.Config{Ceph: &harness.Ceph{Cluster: cluster(), Namespace: s.namespace}, Fallback: harness.NoFallback, Web: web})
	program, err := filepath.Abs("../../bin/clonecache")
	check(b, err)
	d.Program = program
	d.Start(b)
	return d
}
