package backendtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

// Run checks that a backend keeps all promises of backends.Backend, and of backends.FileCopier if it
// is one. open returns a fresh, empty backend, and sees to it that it is closed at the end of the test
// that it is given. What a backend declares not to have is not checked.
func Run(t *testing.T, open func(t testing.TB) backends.Backend) {
	t.Helper()
	for _, c := range backendChecks() {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			c.run(&suite{TB: t, store: b, b: b})
		})
	}
}

// RunStore checks that a store, which need not be a backend, keeps all promises of backends.Store.
func RunStore(t *testing.T, open func(t testing.TB) backends.Store) {
	t.Helper()
	for _, c := range storeChecks {
		t.Run(c.name, func(t *testing.T) { c.run(&suite{TB: t, store: open(t)}) })
	}
}

// check is one promise.
type check struct {
	name string
	run  func(s *suite)
}

func backendChecks() []check {
	return slices.Concat(storeChecks, cloneChecks, retireChecks, adoptChecks, volumeChecks, settleChecks, copyChecks)
}

// suite is what a check works with. b is nil in the checks of stores.
type suite struct {
	testing.TB
	store backends.Store
	b     backends.Backend
}

// Sizes that the checks use. An image has a pattern at its beginning, is a hole after that, and ends in
// the middle of an RBD object.
const (
	imageBytes  = 5<<20 + backends.SizeUnit
	dataBytes   = 256 << 10
	volumeBytes = 6 << 20
)

// pattern is content that tells where it belongs; seed tells one content from another.
func pattern(seed byte, off int64, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		at := off + int64(i)
		p[i] = seed ^ byte(at) ^ byte(at>>8) ^ byte(at>>16) | 1
	}
	return p
}

func (s *suite) ctx() context.Context { return context.WithoutCancel(s.Context()) }

// must ends the check if err is not nil.
func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// wantErr complains if err is not want.
func (s *suite) wantErr(does string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: got error %v, want %v", does, err, want)
	}
}

func description(id backends.ImageVolumeID) backends.Description {
	return backends.Description{
		EntryID: words.EntryID("entry-" + id), Attempt: 1, ContentKey: "sha256:aa/raw", Domain: "project", ImageIDs: []string{"library:" + string(id)},
		Content:   backends.Content{Digest: "sha256:aa", DiskFormat: "raw", SourceBytes: imageBytes, VirtualBytes: imageBytes, InspectorVersion: 3},
		ProjectID: "p", UserID: "u", ClaimID: "c", Form: backends.Decoded,
	}
}

// stage stages an image-volume with data at its beginning.
func (s *suite) stage(id backends.ImageVolumeID) backends.ImageVolumeStage {
	s.Helper()
	st, err := s.store.Stage(s.ctx(), backends.StageSpec{ID: id, VirtualBytes: imageBytes, Description: description(id)})
	s.must(err)
	s.write(st, pattern(1, 0, dataBytes), 0)
	return st
}

func (s *suite) write(w io.WriterAt, data []byte, off int64) {
	s.Helper()
	if n, err := w.WriteAt(data, off); err != nil || n != len(data) {
		s.Fatalf("write %d bytes at %d: wrote %d, %v", len(data), off, n, err)
	}
}

// commit makes a committed image-volume with pattern 1 in its first MiB.
func (s *suite) commit(id backends.ImageVolumeID) backends.ImageVolume {
	s.Helper()
	v, err := s.stage(id).Commit(s.ctx(), description(id))
	s.must(err)
	return v
}

// images lists all image-volumes.
func (s *suite) images() map[backends.ImageVolumeID]backends.ImageVolume {
	s.Helper()
	all := map[backends.ImageVolumeID]backends.ImageVolume{}
	for v, err := range s.store.ListImageVolumes(s.ctx()) {
		if err != nil {
			s.Errorf("list image-volumes: %s: %v", v.ID, err)
			continue
		}
		if _, twice := all[v.ID]; twice {
			s.Errorf("image-volume %s is listed twice", v.ID)
		}
		all[v.ID] = v
	}
	return all
}

// wantImages complains if not just these image-volumes are there.
func (s *suite) wantImages(want map[backends.ImageVolumeID]backends.ImageVolumeState) {
	s.Helper()
	got := map[backends.ImageVolumeID]backends.ImageVolumeState{}
	for id, v := range s.images() {
		got[id] = v.State
	}
	if !maps.Equal(got, want) {
		s.Errorf("image-volumes: got %v, want %v", got, want)
	}
}

type states = map[backends.ImageVolumeID]backends.ImageVolumeState

func spec(name backends.VolumeName, token string) backends.VolumeSpec {
	return backends.VolumeSpec{Name: name, SizeBytes: volumeBytes, Token: token, Origin: backends.Origin{
		EntryID: "entry", ContentKey: "sha256:aa/raw", ImageID: "library:image", Store: "store", ImageVolume: "image-1",
	}}
}

// volume makes a volume by writing pattern 9 to it.
func (s *suite) volume(name backends.VolumeName, token string) backends.Volume {
	s.Helper()
	st, err := s.b.CreateVolume(s.ctx(), spec(name, token))
	s.must(err)
	s.write(st, pattern(9, 0, dataBytes), 0)
	v, err := st.Commit(s.ctx())
	s.must(err)
	return v
}

// wantVolume complains if the volume is not the given one, with pattern seed and then zeroes.
func (s *suite) wantVolume(want backends.Volume, seed byte) {
	s.Helper()
	got, err := s.b.StatVolume(s.ctx(), want.Name)
	if err != nil {
		s.Errorf("volume that should be there: %v", err)
		return
	}
	got.HeldBytes, want.HeldBytes = 0, 0 // may change while the backend brings it to disk
	if got != want {
		s.Errorf("volume changed:\ngot  %+v\nwant %+v", got, want)
	}
	s.wantContent(want.Name, want.SizeBytes, seed)
}

// wantContent complains if the volume does not hold pattern seed and then zeroes.
func (s *suite) wantContent(name backends.VolumeName, size int64, seed byte) {
	s.Helper()
	r, err := openVolume(s.ctx(), s.b, name)
	s.must(err)
	defer r.Close()
	s.wantPattern(r, string(name), size, seed)
}

func (s *suite) wantPattern(r io.ReaderAt, name string, size int64, seed byte) {
	s.Helper()
	got := make([]byte, size+1)
	n, err := r.ReadAt(got, 0)
	if !errors.Is(err, io.EOF) {
		s.must(err)
	}
	got = got[:n]
	switch {
	case int64(n) != size:
		s.Errorf("%s has %d bytes, want %d", name, n, size)
	case !bytes.Equal(got[:dataBytes], pattern(seed, 0, dataBytes)):
		s.Errorf("the content of %s is not what was written", name)
	case !isZero(got[dataBytes:]):
		s.Errorf("%s does not read zeroes where nothing was written", name)
	}
}

// wantNoVolume complains if there is a volume of that name.
func (s *suite) wantNoVolume(name backends.VolumeName) {
	s.Helper()
	v, err := s.b.StatVolume(s.ctx(), name)
	if !errors.Is(err, backends.ErrNotExist) {
		s.Errorf("volume %q should not be there: got %+v, %v", name, v, err)
	}
}

// volumes lists the names of all volumes, sorted.
func (s *suite) volumes() []backends.VolumeName {
	s.Helper()
	var names []backends.VolumeName
	for v, err := range s.b.ListVolumes(s.ctx()) {
		if err != nil {
			s.Errorf("list volumes: %q: %v", v.Name, err)
		}
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return names
}

func (s *suite) wantVolumes(want ...backends.VolumeName) {
	s.Helper()
	if got := s.volumes(); !slices.Equal(got, want) {
		s.Errorf("volumes: got %q, want %q", got, want)
	}
}

// clones ends a check that is about clones where there are none.
func (s *suite) clones() (yes bool) { return s.b.Info().CanClone }

// dependent tells whether clones keep their image-volume from going.
func (s *suite) dependent() bool { i := s.b.Info(); return i.CanClone && !i.IndependentClones }
