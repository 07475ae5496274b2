package backendtest

import (
	"context"
	"io"
	"os"

	"github.com/clonecache/clonecache/backends"
)

// imageOpener is what file caches have beyond backends.Store.
type imageOpener interface {
	OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error)
}

func openImageServesCommitted(s *suite) {
	o, ok := s.store.(imageOpener)
	if !ok {
		return
	}
	st := s.stage("e-1")
	for _, id := range []backends.ImageVolumeID{"e-1", "never-1"} {
		_, _, err := o.OpenImage(s.ctx(), id)
		s.wantErr("open "+string(id), err, backends.ErrNotExist)
	}
	_, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	f, v, err := o.OpenImage(s.ctx(), "e-1")
	s.must(err)
	defer f.Close()
	if v.ID != "e-1" || v.State != backends.Committed || v.VirtualBytes != imageBytes || v.Description.EntryID != "entry-e-1" {
		s.Errorf("got %+v", v)
	}
	if _, err := f.WriteAt([]byte{1}, 0); err == nil {
		s.Error("a committed image was written to")
	}
}

func readersKeepRetired(s *suite) {
	o, ok := s.store.(imageOpener)
	if !ok {
		return
	}
	s.commit("e-1")
	f, _, err := o.OpenImage(s.ctx(), "e-1")
	s.must(err)
	defer f.Close()
	_, err = s.store.Retire(s.ctx(), "e-1")
	s.must(err)
	s.wantPattern(io.ReaderAt(f), "a retired image", imageBytes, 1)
}

func onlyCommittedAreRead(s *suite) {
	r, ok := backends.Capability[backends.ImageVolumeReader](s.store)
	if !ok {
		return
	}
	st := s.stage("e-1")
	for _, id := range []backends.ImageVolumeID{"e-1", "never-1"} {
		_, err := r.OpenImageVolume(s.ctx(), id)
		s.wantErr("open "+string(id), err, backends.ErrNotExist)
	}
	_, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	s.wantImageContent("e-1")
}

func readersKeepRetiredVolume(s *suite) {
	r, ok := backends.Capability[backends.ImageVolumeReader](s.store)
	if !ok {
		return
	}
	s.commit("e-1")
	c, err := r.OpenImageVolume(s.ctx(), "e-1")
	s.must(err)
	defer c.Close()
	_, err = s.store.Retire(s.ctx(), "e-1")
	s.must(err)
	s.wantPattern(c, "a retired image-volume", imageBytes, 1)
	_, err = r.OpenImageVolume(s.ctx(), "e-1")
	s.wantErr("open a retired image-volume", err, backends.ErrNotExist)
}

func holesAreZeroes(s *suite) {
	r, ok := backends.Capability[backends.ImageVolumeReader](s.store)
	if !ok {
		return
	}
	st := s.stage("e-1")
	late := int64(imageBytes) - 1<<20 // and some more near the end
	s.write(st, pattern(1, late, 4096), late)
	_, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	c, err := r.OpenImageVolume(s.ctx(), "e-1")
	s.must(err)
	defer c.Close()
	teller, ok := c.(backends.HoleTeller)
	if !ok {
		return
	}
	size := s.images()["e-1"].VirtualBytes
	holes := int64(0)
	for off := int64(0); off < size; {
		from, to, err := teller.NextData(s.ctx(), off)
		s.must(err)
		if from < off || to < from || to > size || from == to && from != size {
			s.Fatalf("data behind %d: got [%d, %d) of %d", off, from, to, size)
		}
		hole := make([]byte, from-off)
		if _, err := c.ReadAt(hole, off); err != nil && len(hole) > 0 {
			s.must(err)
		}
		if !isZero(hole) {
			s.Errorf("[%d, %d) is told to be a hole, and is none", off, from)
		}
		holes, off = holes+from-off, to
		if from == size {
			break
		}
	}
	if holes == 0 {
		s.Errorf("no holes are told of, and %d of %d bytes were written", dataBytes+4096, size)
	}
}
