//go:build ceph

package rbd

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// BenchmarkClones compares Clone with the bare calls of librbd that the same request needs, in turns on
// one connection, and reports clones per second and the median ratio. e2e/ceph/bench.sh runs it on a
// cluster whose mon has Ceph's own timing.
func BenchmarkClones(b *testing.B) {
	const image = 64 << 20
	for _, size := range []struct {
		name  string
		bytes int64
	}{{"same size", image}, {"grown", 2 * image}} {
		for _, workers := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/workers=%d", size.name, workers), func(b *testing.B) {
				t := openBackend(b, config(b))
				commitImage(b, t, "e-1", image)
				per := 40 + 20*min(workers, 8)
				for b.Loop() {
					t.compare(b, workers, per, image, size.bytes)
				}
			})
		}
	}
}

// compare makes some clones by either way in each of a few rounds.
func (t *tested) compare(b *testing.B, workers, clones int, image, size int64) {
	const rounds = 5
	var ratios, bare, ours []float64
	for round := range rounds {
		ways := []func(name string) error{
			func(name string) error { return t.bareClone(name, image, size) },
			func(name string) error {
				spec := specOf(name, "token-"+name)
				spec.SizeBytes = size
				_, err := t.Clone(b.Context(), "e-1", spec)
				return err
			},
		}
		rates := make([]float64, len(ways))
		for i := range ways {
			way := (i + round) % len(ways) // each goes first in turn
			rates[way] = rate(b, workers, clones, fmt.Sprintf("v-%d-%d-%d", round, way, b.N), ways[way])
		}
		bare, ours = append(bare, rates[0]), append(ours, rates[1])
		ratios = append(ratios, rates[1]/rates[0])
	}
	b.ReportMetric(median(bare), "bare/s")
	b.ReportMetric(median(ours), "clones/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

// bareClone makes the same volume by the calls of librbd alone.
func (t *tested) bareClone(name string, image, size int64) error {
	s := t.sessions.current
	err := withOptions(t.features, func(o *rbd.ImageOptions) error {
		if err := o.SetUint64(rbd.ImageOptionCloneFormat, 2); err != nil {
			return err
		}
		return rbd.CloneImage(s.images, imageName("e-1"), snapshotName, s.volumes, name, o)
	})
	if err != nil || size == image {
		return err
	}
	opened, err := rbd.OpenImage(s.volumes, name, rbd.NoSnapshot)
	if err != nil {
		return err
	}
	if err := opened.Resize(uint64(size)); err != nil {
		return err
	}
	return opened.Close()
}

// rate is how many volumes per second several workers make.
func rate(b *testing.B, workers, volumes int, name string, clone func(name string) error) float64 {
	b.Helper()
	var next atomic.Int64
	began := time.Now()
	together(make([]struct{}, workers), func(struct{}) (struct{}, error) {
		for n := next.Add(1); n <= int64(volumes); n = next.Add(1) {
			if err := clone(fmt.Sprintf("%s-%d", name, n)); err != nil {
				b.Error(err)
			}
		}
		return struct{}{}, nil
	})
	return float64(volumes) / time.Since(began).Seconds()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// BenchmarkGrowth reports the median time of a clone beside so many clones of the same image-volume.
func BenchmarkGrowth(b *testing.B) {
	t := openBackend(b, config(b))
	commitImage(b, t, "e-1", 64<<20)
	made := 0
	var first float64
	for _, clones := range []int{0, 1000, 5000} {
		b.Run(fmt.Sprintf("clones=%d", clones), func(b *testing.B) {
			if missing := clones - made; missing > 0 {
				rate(b, 8, missing, fmt.Sprintf("fill-%d", clones), func(name string) error {
					_, err := t.Clone(b.Context(), "e-1", specOfSize(name, 64<<20))
					return err
				})
				made = clones
			}
			var took []float64
			for b.Loop() {
				for n := range 60 {
					began := time.Now()
					if _, err := t.Clone(b.Context(), "e-1", specOfSize(fmt.Sprintf("v-%d-%d", clones, n), 64<<20)); err != nil {
						b.Fatal(err)
					}
					took = append(took, float64(time.Since(began).Microseconds())/1000)
				}
			}
			made += len(took)
			if first == 0 {
				first = median(took)
			}
			b.ReportMetric(median(took), "p50-ms")
			b.ReportMetric(median(took)/first, "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func specOfSize(name string, bytes int64) backends.VolumeSpec {
	spec := specOf(name, "token-"+name)
	spec.SizeBytes = bytes
	return spec
}
