//go:build ceph

package rbd

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/backends"
)

// What a stage has written to an image that another host has removed, as one does that was stopped meanwhile, is gone with
// the stage: no object stays that belongs to no image.
func TestWhatIsWrittenToARemovedImageIsRemovedToo(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *tested, backends.ImageVolumeStage){
		"discard": func(t *testing.T, _ *tested, st backends.ImageVolumeStage) {
			if err := st.Discard(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"a commit that fails, and discard": func(t *testing.T, _ *tested, st backends.ImageVolumeStage) {
			if _, err := st.Commit(t.Context(), backends.Description{}); err == nil {
				t.Error("an image-volume that is gone was committed")
			}
			if err := st.Discard(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"retire": func(t *testing.T, b *tested, _ backends.ImageVolumeStage) {
			if _, err := b.Retire(t.Context(), "iv"); err != nil && !errors.Is(err, backends.ErrNotExist) {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			stopped, other := openBackend(t, c), openBackend(t, withHolder(c, "another-host"))
			st, err := stopped.Stage(t.Context(), backends.StageSpec{ID: "iv", VirtualBytes: 4*piece + 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, number := range []int64{0, 1, 3} {
				writePiece(t, st, number)
			}
			waitForWrites(t, st.(*imageStage))
			images := admin(t, "images", c.Namespace)
			removeHeader(t, images, st.(*imageStage).RBDID)
			if _, err := other.Retire(t.Context(), "iv"); err != nil {
				t.Fatal(err)
			}
			if late := dataObjects(t, images); len(late) != 3 {
				t.Fatalf("objects of the image that is gone: %q, want 3, as if they had been written late", late)
			}
			end(t, stopped, st)
			if left := dataObjects(t, images); len(left) > 0 {
				t.Errorf("objects that belong to no image: %q", left)
			}
		})
	}
}

func withHolder(c Config, holder string) Config {
	c.Holder = holder
	return c
}

// writePiece writes one whole object, which goes to the OSDs then.
func writePiece(t *testing.T, st backends.ImageVolumeStage, number int64) {
	t.Helper()
	if _, err := st.WriteAt(bytes.Repeat([]byte{byte(number + 1)}, piece), number*piece); err != nil {
		t.Fatal(err)
	}
}

// waitForWrites waits until what was written is at the OSDs.
func waitForWrites(t *testing.T, st *imageStage) {
	t.Helper()
	if err := st.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// removeHeader has nobody watch an image, as after osd_client_watch_timeout, and lets its removal find no data to remove.
func removeHeader(t *testing.T, images *rados.IOContext, rbdID string) {
	t.Helper()
	if err := images.Delete(headerObject + rbdID); err != nil {
		t.Fatal(err)
	}
}

// dataObjects are the data objects of all images of a namespace.
func dataObjects(t *testing.T, images *rados.IOContext) []string {
	t.Helper()
	var found []string
	if err := images.ListObjects(func(object string) {
		if strings.HasPrefix(object, "rbd_data.") {
			found = append(found, object)
		}
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}
