//go:build ceph

package rbd

import (
	"testing"

	"github.com/clonecache/clonecache/backends"
)

// What a fill left that came to nothing holds its space until it can be removed: it counts, also for who asks later, and until then
// alone.
func TestWhatCannotBeRemovedYetCountsWhatItHolds(t *testing.T) {
	for name, spec := range map[string]backends.StageSpec{"of our own": {ID: "e-1", VirtualBytes: 8 << 20}, "adopted": adoption("e-1")} {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			other, b := openBackend(t, c), openBackend(t, c)
			if spec.Adopt != "" {
				makeCinders(t, b)
			}
			stage, held := halfWritten(t, other, spec)
			for range 2 { // it is not counted twice
				if r, err := b.Retire(t.Context(), spec.ID); err != nil || r.Gone {
					t.Fatalf("retire what another client has open: got %+v, %v, want it there still", r, err)
				}
				v, err := b.StatImageVolume(t.Context(), spec.ID)
				if err != nil || v.State != backends.Detached || v.HeldBytes != held {
					t.Errorf("got %+v, %v, want it detached, with the %d bytes that its fill has counted", v, err, held)
				}
			}
			stage.close()
			r, err := b.Reap(t.Context())
			if err != nil || len(r.ImageVolumes) != 1 || r.FreedBytes != held {
				t.Errorf("reap: got %+v, %v, want %d bytes free", r, err, held)
			}
		})
	}
}

// halfWritten is a stage of which two objects hold data, and how much that is.
func halfWritten(t *testing.T, b *tested, spec backends.StageSpec) (*imageStage, int64) {
	t.Helper()
	st, err := b.Stage(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	data := mebibyte()
	for _, off := range []int64{0, 4 << 20} {
		if _, err := st.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	stage := st.(*imageStage)
	if err := stage.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held := st.HeldBytes(); held != 2<<20 {
		t.Errorf("the fill has counted %d bytes, want %d", held, 2<<20)
	}
	return stage, st.HeldBytes()
}
