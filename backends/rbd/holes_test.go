//go:build ceph

package rbd

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// A large image with little in it is looked through by its objects, and not read.
func TestHolesOfALargeImageAreNotRead(t *testing.T) {
	const size, at = int64(200) << 30, int64(123)<<30 + 8192
	b := openBackend(t, config(t))
	st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: size})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64<<10)
	for i := range data {
		data[i] = 7
	}
	if _, err := st.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), backends.Description{EntryID: "e"}); err != nil {
		t.Fatal(err)
	}
	c, err := b.OpenImageVolume(t.Context(), "e-1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	var found []span
	for off := int64(0); ; {
		from, to, err := c.(backends.HoleTeller).NextData(t.Context(), off)
		if err != nil {
			t.Fatal(err)
		}
		if from == size {
			break
		}
		found, off = append(found, span{from, to}), to
	}
	t.Logf("%v in %v", found, time.Since(began))
	if len(found) != 1 || found[0].from > at || found[0].to < at+int64(len(data)) || found[0].to-found[0].from > piece {
		t.Errorf("found %v, want what was written at %d", found, at)
	}
}
