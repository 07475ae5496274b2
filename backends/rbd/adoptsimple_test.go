//go:build ceph

package rbd

import (
	"testing"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// An adopted image is written and snapshotted as one of ours: with no lock, no object map, and the ID of its snapshot asked
// for ahead. One with a feature that says more than that stays as it is.
func TestAnAdoptedVolumeIsSimplified(t *testing.T) {
	for _, r := range []struct {
		name           string
		features, want uint64
		ahead          bool
	}{
		{"of Cinder's", cinderFeatures, imageFeatures, true},
		{"with an object map alone", rbd.FeatureLayering | rbd.FeatureExclusiveLock | rbd.FeatureObjectMap, imageFeatures, true},
		{"with nothing to leave out", imageFeatures, imageFeatures, true},
		{"with a journal", cinderFeatures | rbd.FeatureJournaling, cinderFeatures | rbd.FeatureJournaling, false},
		{"without layering", rbd.FeatureExclusiveLock, rbd.FeatureExclusiveLock, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			b := openBackend(t, config(t))
			err := withOptions(r.features, func(o *rbd.ImageOptions) error {
				return rbd.CreateImage(b.strangersImages(), adoptee, 1<<30, o)
			})
			if err != nil {
				t.Fatal(err)
			}
			stage, err := b.Stage(t.Context(), adoption("e-1"))
			if err != nil {
				t.Fatal(err)
			}
			if got := stage.(*imageStage).snapshot != nil; got != r.ahead {
				t.Errorf("the snapshot's ID was asked for ahead: got %t, want %t", got, r.ahead)
			}
			if _, err := stage.WriteAt([]byte("content"), 5<<20); err != nil {
				t.Fatal(err)
			}
			if _, err := stage.Commit(t.Context(), backends.Description{}); err != nil {
				t.Fatal(err)
			}
			image, err := rbd.OpenImageReadOnly(b.strangersImages(), adoptee, snapshotName)
			if err != nil {
				t.Fatal(err)
			}
			defer image.Close()
			got := make([]byte, 7)
			if _, err := image.ReadAt(got, 5<<20); err != nil || string(got) != "content" {
				t.Errorf("the snapshot reads %q, %v", got, err)
			}
			if features, err := image.GetFeatures(); err != nil || features != r.want {
				t.Errorf("got features %#x, %v, want %#x", features, err, r.want)
			}
		})
	}
}
