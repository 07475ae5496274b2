package imagefile

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

// However writes and Retire meet, as where another host has taken the fill over: a write is made or refused, and nothing is
// left. The race detector tells whether a descriptor can be another file's by then.
func TestWritesAndARetireMeet(t *testing.T) {
	s := newStore(t)
	const size, piece = 16 << 20, 256 << 10
	for i := range 20 {
		id := backends.ImageVolumeID(fmt.Sprintf("e-%d", i))
		st, err := s.Stage(t.Context(), backends.StageSpec{ID: id, VirtualBytes: size, Room: func(need, _ int64) (int64, error) { return need, nil }})
		must(t, err)
		var running sync.WaitGroup
		begun := make(chan struct{})
		running.Go(func() {
			data := make([]byte, piece)
			for n := range size / piece {
				data[0] = byte(n + 1)
				if _, err := st.WriteAt(data, int64(n)*piece); errors.Is(err, backends.ErrNotExist) {
					return
				} else if err != nil {
					t.Error(err)
				}
				if n == i {
					close(begun)
				}
			}
		})
		<-begun
		_, err = s.Retire(t.Context(), id)
		must(t, err)
		running.Wait()
	}
	for iv, err := range s.List(t.Context()) {
		t.Errorf("left: %+v, %v", iv, err)
	}
}
