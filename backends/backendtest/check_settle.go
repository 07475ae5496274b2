package backendtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/clonecache/clonecache/backends"
)

var settleChecks = []check{
	{"SettleKeepsAWholeVolume", settleKeepsWhole},
	{"SettleLeavesAnotherAttemptsVolumeAlone", settleLeavesOthers},
	{"SettleOfNothingDoesNothing", settleOfNothing},
}

// settle settles twice, since it may be repeated, and complains if the answers are not want.
func (s *suite) settle(spec backends.VolumeSpec, want backends.Settled) {
	s.Helper()
	for range 2 {
		got, err := s.b.Settle(s.ctx(), spec)
		if err != nil || got != want {
			s.Errorf("settle: got %v, %v, want %v", got, err, want)
		}
	}
}

func settleKeepsWhole(s *suite) {
	written := s.volume("written", "t1")
	s.settle(spec("written", "t1"), backends.Whole)
	s.wantVolume(written, 9)
	if !s.clones() {
		return
	}
	s.commit("e-1")
	cloned := s.cloned("e-1", "cloned", "t2")
	s.settle(spec("cloned", "t2"), backends.Whole)
	s.wantVolume(cloned, 1)
}

func settleLeavesOthers(s *suite) {
	v := s.volume("v", "mine")
	if v.Token == "" {
		return // nothing tells the attempts apart here
	}
	for _, token := range []string{"another", ""} {
		s.settle(spec("v", token), backends.Absent)
		s.wantVolume(v, 9)
	}
}

func settleOfNothing(s *suite) {
	s.settle(spec("v", "t"), backends.Absent)
	s.wantNoVolume("v")
}

var copyChecks = []check{
	{"ACopyHasTheFilesContent", copyHasContent},
	{"ACopyNeverTouchesAnExistingVolume", copyNeverTouches},
	{"ATooSmallCopyIsRefused", tooSmallCopy},
	{"ACancelledCopyLeavesNothing", cancelledCopy},
}

// copier is the backend's optional capability, and a file to copy from.
func (s *suite) copier() (backends.FileCopier, *os.File) {
	s.Helper()
	c, ok := backends.Capability[backends.FileCopier](s.b)
	if !ok {
		return nil, nil
	}
	f, err := os.Create(filepath.Join(s.TempDir(), "source"))
	s.must(err)
	s.Cleanup(func() { _ = f.Close() })
	s.write(f, pattern(7, 0, dataBytes), 0)
	s.must(f.Truncate(imageBytes))
	return c, f
}

func copyHasContent(s *suite) {
	c, src := s.copier()
	if c == nil {
		return
	}
	var last int64
	v, method, err := c.CopyFromFile(s.ctx(), src, spec("v", "t"), func(copied int64) {
		if copied < last {
			s.Errorf("progress went from %d back to %d", last, copied)
		}
		last = copied
	})
	s.must(err)
	if method == "" || last != imageBytes {
		s.Errorf("got method %q and progress up to %d, want one and %d", method, last, imageBytes)
	}
	s.wantVolume(v, 7)
	s.wantStamp(v, spec("v", "t"))
	_, _, err = c.CopyFromFile(s.ctx(), src, spec("without-progress", "t"), nil)
	s.must(err)
}

func copyNeverTouches(s *suite) {
	c, src := s.copier()
	if c == nil {
		return
	}
	old := s.volume("v", "first")
	_, _, err := c.CopyFromFile(s.ctx(), src, spec("v", "second"), nil)
	s.wantErr("copy to a taken name", err, backends.ErrExist)
	s.wantVolume(old, 9)
}

func tooSmallCopy(s *suite) {
	c, src := s.copier()
	if c == nil {
		return
	}
	small := spec("v", "t")
	small.SizeBytes = imageBytes - 2*backends.SizeUnit
	_, _, err := c.CopyFromFile(s.ctx(), src, small, nil)
	s.wantErr("copy to a volume smaller than the file", err, backends.ErrTooSmall)
	s.wantNoVolume("v")
}

func cancelledCopy(s *suite) {
	c, src := s.copier()
	if c == nil {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx())
	cancel()
	_, _, err := c.CopyFromFile(ctx, src, spec("v", "t"), nil)
	if err == nil {
		s.wantContent("v", volumeBytes, 7)
		return
	}
	if !errors.Is(err, context.Canceled) {
		s.Errorf("got error %v, want %v", err, context.Canceled)
	}
	s.wantNoVolume("v")
}
