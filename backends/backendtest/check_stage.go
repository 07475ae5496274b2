package backendtest

import (
	"errors"
	"sync"

	"github.com/clonecache/clonecache/backends"
)

func concurrentStages(s *suite) {
	const callers = 8
	stages := make([]backends.ImageVolumeStage, callers)
	errs := make([]error, callers)
	together(callers, func(i int) {
		stages[i], errs[i] = s.store.Stage(s.ctx(), backends.StageSpec{ID: "e-1", VirtualBytes: 4096})
	})
	made := 0
	for i, err := range errs {
		if err == nil {
			made++
			s.must(stages[i].Discard(s.ctx()))
			continue
		}
		s.wantErr("stage", err, backends.ErrExist)
	}
	if made != 1 {
		s.Errorf("%d of %d stages of one ID were made, want 1", made, callers)
	}
}

// together runs n calls that begin at the same moment, and waits for all.
func together(n int, do func(i int)) {
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	running.Wait()
}

func writesBeyondTheEnd(s *suite) {
	st := s.stage("e-1")
	for _, off := range []int64{imageBytes, imageBytes - 1, imageBytes + 4096, -1} {
		if _, err := st.WriteAt([]byte{1, 2}, off); err == nil {
			s.Errorf("2 bytes were written at %d of %d", off, imageBytes)
		}
	}
	v, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	if v.VirtualBytes != imageBytes {
		s.Errorf("got %d bytes, want %d", v.VirtualBytes, imageBytes)
	}
}

func concurrentWrites(s *suite) {
	st, err := s.store.Stage(s.ctx(), backends.StageSpec{ID: "e-1", VirtualBytes: imageBytes})
	s.must(err)
	const pieces = 16
	piece := dataBytes / pieces
	together(pieces, func(i int) {
		off := int64(pieces-1-i) * int64(piece)
		if _, err := st.WriteAt(pattern(1, off, piece), off); err != nil {
			s.Error(err)
		}
	})
	_, err = st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	s.wantImageContent("e-1")
}

// wantImageContent complains if the committed image-volume does not hold pattern 1 and then zeroes, by
// whichever way it can be read.
func (s *suite) wantImageContent(id backends.ImageVolumeID) {
	s.Helper()
	if o, ok := s.store.(imageOpener); ok {
		f, _, err := o.OpenImage(s.ctx(), id)
		s.must(err)
		defer f.Close()
		s.wantPattern(f, string(id), imageBytes, 1)
	}
	if r, ok := backends.Capability[backends.ImageVolumeReader](s.store); ok {
		c, err := r.OpenImageVolume(s.ctx(), id)
		s.must(err)
		defer c.Close()
		s.wantPattern(c, string(id), imageBytes, 1)
	}
	if s.b != nil && s.clones() {
		v, err := s.b.Clone(s.ctx(), id, spec("content-of-"+backends.VolumeName(id), "content"))
		s.must(err)
		s.wantContent(v.Name, volumeBytes, 1)
	}
}

func imageVolumesAreWhole(s *suite) {
	for id, size := range map[backends.ImageVolumeID]int64{"tiny-1": 1, "odd-1": 1_000_001, "block-1": 2_000_384, "whole-1": 8192} {
		st, err := s.store.Stage(s.ctx(), backends.StageSpec{ID: id, VirtualBytes: size, Description: description(id)})
		s.must(err)
		s.write(st, []byte{1}, size-1)
		v, err := st.Commit(s.ctx(), description(id))
		s.must(err)
		for _, got := range []int64{v.VirtualBytes, s.images()[id].VirtualBytes} {
			if want := (size + 4095) / 4096 * 4096; got != want {
				s.Errorf("an image-volume for %d bytes has %d, want %d", size, got, want)
			}
		}
	}
}

func holesHoldNothing(s *suite) {
	st := s.stage("e-1")
	// A backend may account in pieces of up to 4 MiB.
	const most = 4 << 20
	if got := st.HeldBytes(); got < dataBytes || got > most {
		s.Errorf("stage holds %d bytes, want %d to %d", got, dataBytes, most)
	}
	v, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	for _, got := range []int64{v.HeldBytes, s.images()["e-1"].HeldBytes} {
		if got < dataBytes || got > most {
			s.Errorf("committed image-volume holds %d bytes, want %d to %d", got, dataBytes, most)
		}
	}
}

// recordBytes is what a description may take beside the content.
const recordBytes = 8 << 10

// scatteredWrites writes n little pieces far apart.
func (s *suite) scatteredWrites(st backends.ImageVolumeStage, n int, after func(err error) (goOn bool)) {
	s.Helper()
	for i := range n {
		off := int64(i) * (imageBytes / int64(n)) &^ 511
		_, err := st.WriteAt(pattern(1, off, 512), off)
		if !after(err) {
			return
		}
	}
}

func stageHoldsWhatItSays(s *suite) {
	st, err := s.store.Stage(s.ctx(), backends.StageSpec{ID: "e-1", VirtualBytes: imageBytes})
	s.must(err)
	s.scatteredWrites(st, 200, func(err error) bool { s.must(err); return true })
	says := st.HeldBytes()
	v, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	for _, held := range []int64{v.HeldBytes, s.images()["e-1"].HeldBytes} {
		if held > says+recordBytes {
			s.Errorf("the stage said that it holds %d bytes, and it holds %d", says, held)
		}
		if held < 200*512 {
			s.Errorf("it holds %d bytes, less than was written", held)
		}
	}
}

// meteredRoom grants what is needed, up to most.
type meteredRoom struct {
	mu      sync.Mutex
	granted int64
	most    int64 // 0: all
}

func (m *meteredRoom) room(need, _ int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.most > 0 && need > m.most {
		return 0, errNoRoom
	}
	m.granted = max(m.granted, need)
	return m.granted, nil
}

func (m *meteredRoom) sum() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.granted
}

var errNoRoom = errors.New("there is no more room")

func stageAsksForRoom(s *suite) {
	var m meteredRoom
	st, err := s.store.Stage(s.ctx(), backends.StageSpec{ID: "e-1", VirtualBytes: imageBytes, Room: m.room})
	s.must(err)
	s.scatteredWrites(st, 50, func(err error) bool {
		s.must(err)
		if held, granted := st.HeldBytes(), m.sum(); held > granted || held == 0 {
			s.Fatalf("it holds %d bytes, and %d were granted", held, granted)
		}
		return true
	})
	v, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	if v.HeldBytes > m.sum()+recordBytes {
		s.Errorf("it holds %d bytes, and %d were granted", v.HeldBytes, m.sum())
	}
}

func refusedStageHoldsNoMore(s *suite) {
	m := meteredRoom{most: 1 << 20}
	st, err := s.store.Stage(s.ctx(), backends.StageSpec{ID: "e-1", VirtualBytes: 1 << 30, Room: m.room})
	s.must(err)
	refused := false
	for off := int64(0); off < 40<<20 && !refused; off += 128 << 10 {
		_, err := st.WriteAt(pattern(1, off, 64<<10), off)
		if refused = errors.Is(err, errNoRoom); !refused {
			s.must(err)
		}
	}
	if !refused {
		s.Error("it was never refused, though it would hold more than there is room for")
	}
	if held := st.HeldBytes(); held > m.most {
		s.Errorf("it holds %d bytes, and %d were granted", held, m.most)
	}
	s.must(st.Discard(s.ctx()))
	s.wantImages(states{})
}
