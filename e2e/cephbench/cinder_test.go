//go:build ceph

package cephbench

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rbd"
)

// BenchmarkCinder compares hits in the library with the way in which Cinder's RBD driver clones a volume
// (cinder/volume/drivers/rbd.py, create_cloned_volume): each clone has a new, protected snapshot of its own.
func BenchmarkCinder(b *testing.B) {
	const volumes = 4 // in a turn: each of Cinder's takes about a second
	for b.Loop() {
		s := newSite(b)
		cache := s.library(b, "disk.raw")
		s.hit(b, cache, "disk.raw", "first", 0)
		s.plainVolume(b, "cached-by-cinder", imageBytes)
		for _, workers := range []int{1, volumes} {
			turn := func(way string, clone func(name string) error) contestant {
				return func(round int) time.Duration {
					return timed(func() {
						many(b, workers, volumes, func(n int) error { return clone(fmt.Sprintf("%s-%d-%d-%d", way, workers, round, n)) })
					})
				}
			}
			took := alternate(
				turn("cinder", func(name string) error { return s.cinderClone("cached-by-cinder", name) }),
				turn("ours", func(name string) error { return create(b, cache, "disk.raw", name, 0) }))
			rate := func(of []time.Duration) float64 { return volumes / median(of).Seconds() }
			atLeast(b, fmt.Sprintf("hit: rate to Cinder's RBD driver's calls, %d at once", workers), ratio(took[0], took[1]), 10,
				fmt.Sprintf("%.1f/s to %.1f/s", rate(took[1]), rate(took[0])))
		}
	}
}

// plainVolume makes a volume as others do.
func (s *site) plainVolume(b *testing.B, name string, size int64) {
	b.Helper()
	o := options(b, features)
	defer o.Destroy()
	check(b, rbd.CreateImage(s.volumes, name, uint64(size), o))
}

// cinderClone makes Cinder's calls for a clone of a volume.
func (s *site) cinderClone(from, name string) error {
	parent, err := rbd.OpenImage(s.volumes, from, rbd.NoSnapshot)
	if err != nil {
		return err
	}
	defer parent.Close()
	snapshotName := name + ".clone_snap"
	snapshot, err := parent.CreateSnapshot(snapshotName)
	if err != nil {
		return err
	}
	if err := snapshot.Protect(); err != nil {
		return err
	}
	o := rbd.NewRbdImageOptions()
	defer o.Destroy()
	return errors.Join(
		o.SetUint64(rbd.ImageOptionFeatures, features),
		rbd.CloneImage(s.volumes, from, snapshotName, s.volumes, name, o))
}
