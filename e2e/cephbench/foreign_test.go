//go:build ceph

package cephbench

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin/api"
)

// BenchmarkForeign compares what a daemon's start and its check cost beside thousands of volumes that
// are not ours with what they cost in empty pools: they read the pools' directories, a page of names at
// once, and open image-volumes alone.
func BenchmarkForeign(b *testing.B) {
	const entries, volumes, images = 5, 5000, 1000
	for b.Loop() {
		s := newSite(b)
		d := s.daemon(b, nil)
		for n := range entries {
			name := fmt.Sprintf("disk-%d.raw", n)
			harness.SmallDisk(b, filepath.Join(d.Config.Images, name), uint64(n), 8*mib, mib)
			_, err := d.Client(b).CreateVolume(b.Context(), api.CreateRequest{Image: "library:" + name, Volume: backends.VolumeName(fmt.Sprintf("v%d", n))}, nil)
			check(b, err)
		}
		start := func() { d.Restart(b) }
		compare := func() {
			found, err := d.Client(b).Check(b.Context(), api.CheckRequest{}, nil)
			check(b, err)
			if !found.OK {
				b.Fatalf("check: got %+v, want no problems", found.Problems)
			}
		}
		startAlone, checkAlone := measure(b, start), measure(b, compare)
		foreign(b, s.volumes, volumes)
		foreign(b, s.images, images)
		for _, c := range []struct {
			what          string
			alone, beside cost
		}{{"start", startAlone, measure(b, start)}, {"check", checkAlone, measure(b, compare)}} {
			atMost(b, c.what+": OSD operations that 1,000 foreign volumes add",
				float64(c.beside.operations-c.alone.operations)*1000/(volumes+images), 10,
				fmt.Sprintf("%d in %s; alone %d in %s", c.beside.operations, milliseconds(c.beside.took), c.alone.operations, milliseconds(c.alone.took)))
		}
	}
}

// foreign makes images that are not ours.
func foreign(b *testing.B, io *rados.IOContext, count int) {
	b.Helper()
	many(b, 32, count, func(n int) error {
		o := rbd.NewRbdImageOptions()
		defer o.Destroy()
		if err := o.SetUint64(rbd.ImageOptionFeatures, rbd.FeatureLayering); err != nil {
			return err
		}
		return rbd.CreateImage(io, fmt.Sprintf("foreign-%d", n), gib, o)
	})
}

// cost is what something asks of the cluster, at the median.
type cost struct {
	operations int64
	took       time.Duration
}

func measure(b *testing.B, do func()) cost {
	b.Helper()
	var operations []float64
	var took []time.Duration
	for range rounds {
		before := osdOperations(b)
		took = append(took, timed(do))
		operations = append(operations, float64(osdOperations(b)-before))
	}
	return cost{operations: int64(median(operations)), took: median(took)}
}

// osdOperations is how many operations of clients the OSD has done since it started.
func osdOperations(b *testing.B) int64 {
	b.Helper()
	text, err := exec.CommandContext(b.Context(), "ceph", "daemon", filepath.Join(clusterDir(), "run", "osd.asok"), "perf", "dump", "osd", "op").Output()
	check(b, err)
	var counters struct {
		OSD struct {
			Op int64 `json:"op"`
		} `json:"osd"`
	}
	check(b, json.Unmarshal(text, &counters))
	return counters.OSD.Op
}
