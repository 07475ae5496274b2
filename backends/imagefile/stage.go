package imagefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// committedMode lets nobody write a committed image-volume, not even by mistake.
const committedMode = 0o400

// stage is an image-volume being written.
type stage struct {
	store *Store
	spec  backends.StageSpec
	draft atomic.Pointer[rawfile.Draft] // nil while it is begun
	// content is set before draft is.
	content *rawfile.Content
	life    rawfile.Lifecycle
}

// Stage implements backends.Store.
func (s *Store) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	spec = spec.Rounded()
	if err := checkID(spec.ID); err != nil {
		return nil, err
	}
	if spec.VirtualBytes <= 0 {
		return nil, fmt.Errorf("stage image-volume %s: virtual size of %d bytes", spec.ID, spec.VirtualBytes)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	spec.Description = s.dated(spec.Description)
	st := &stage{store: s, spec: spec}
	if !s.reserve(st) {
		return nil, onImage("stage", spec.ID, backends.ErrExist)
	}
	if err := st.begin(); err != nil {
		st.leave(rawfile.Discarded)
		return nil, onImage("stage", spec.ID, err)
	}
	st.leave(rawfile.Writing)
	return st, nil
}

// reserve takes the stage's ID within this process.
func (s *Store) reserve(st *stage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.stages[st.spec.ID]; taken {
		return false
	}
	s.stages[st.spec.ID] = st
	return true
}

// leave ends the time in which the stage was busy. It gives the ID back where it ends the stage.
func (st *stage) leave(to rawfile.Phase) {
	if to != rawfile.Writing {
		st.store.mu.Lock()
		delete(st.store.stages, st.spec.ID)
		st.store.mu.Unlock()
	}
	st.life.Leave(to)
}

// begin makes the draft, stamped with what is known, so that it describes itself if it is found.
func (st *stage) begin() error {
	id := string(st.spec.ID)
	if taken, err := st.store.place.Exists(id); err != nil {
		return err
	} else if taken {
		return backends.ErrExist
	}
	draft, err := st.store.place.Draft(rawfile.DraftSpec{Staged: id, Mode: 0o600})
	if err != nil {
		return err
	}
	content, err := draft.Content(st.spec.VirtualBytes, st.spec.Room)
	if err == nil {
		err = st.stamp(draft, st.spec.Description)
	}
	if err != nil {
		return errors.Join(rawfile.Explain(err), draft.Discard())
	}
	st.content = content
	st.draft.Store(draft)
	return nil
}

func (st *stage) stamp(draft *rawfile.Draft, d backends.Description) error {
	record, err := st.store.newRecord(st.spec, d)
	if err != nil {
		return err
	}
	return draft.Stamp(record)
}

// WriteAt implements backends.Stage. After Commit, Retire and Discard it answers backends.ErrNotExist.
func (st *stage) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > st.spec.VirtualBytes {
		return 0, onImage("write", st.spec.ID, fmt.Errorf("%d bytes at %d are beyond its %d bytes", len(p), off, st.spec.VirtualBytes))
	}
	if st.life.Phase() != rawfile.Writing {
		return 0, onImage("write", st.spec.ID, backends.ErrNotExist)
	}
	n, err := st.content.WriteAt(p, off)
	if errors.Is(err, os.ErrClosed) {
		err = backends.ErrNotExist
	}
	return n, onImage("write", st.spec.ID, rawfile.Explain(err))
}

// ReadAt reads what was written, while it is staged: of use to who follows a stage that is written in order. Afterwards it
// answers backends.ErrNotExist.
func (st *stage) ReadAt(p []byte, off int64) (int, error) {
	if st.life.Phase() != rawfile.Writing {
		return 0, onImage("read", st.spec.ID, backends.ErrNotExist)
	}
	n, err := st.draft.Load().ReadAt(p, off)
	if errors.Is(err, os.ErrClosed) {
		err = backends.ErrNotExist
	}
	if errors.Is(err, io.EOF) {
		return n, err
	}
	return n, onImage("read", st.spec.ID, rawfile.Explain(err))
}

// HeldBytes implements backends.ImageVolumeStage, by the filesystem's blocks.
func (st *stage) HeldBytes() int64 { return st.content.Held() }

// Commit implements backends.ImageVolumeStage.
func (st *stage) Commit(ctx context.Context, final backends.Description) (backends.ImageVolume, error) {
	if err := ctx.Err(); err != nil {
		return backends.ImageVolume{}, err
	}
	if st.life.Enter() != rawfile.Writing {
		return backends.ImageVolume{}, onImage("commit", st.spec.ID, backends.ErrNotExist)
	}
	final = st.store.dated(final)
	info, err := st.publish(final)
	if err != nil {
		st.leave(rawfile.Writing)
		return backends.ImageVolume{}, onImage("commit", st.spec.ID, rawfile.Explain(err))
	}
	st.leave(rawfile.Published)
	_ = st.draft.Load().Close() // durable already
	return st.store.describe(st.spec.ID, info, record{Description: final}), nil
}

// publish makes the image-volume durable under its name. Until its last step it is staged.
func (st *stage) publish(final backends.Description) (fs.FileInfo, error) {
	draft := st.draft.Load()
	if err := st.content.Trim(); err != nil {
		return nil, err
	}
	if err := st.stamp(draft, final); err != nil {
		return nil, err
	}
	if err := draft.Chmod(committedMode); err != nil {
		return nil, err
	}
	before, err := draft.Stat()
	if err != nil {
		return nil, err
	}
	if err := draft.PublishWritten(string(st.spec.ID)); err != nil {
		return nil, err
	}
	if after, err := draft.Stat(); err == nil { // the blocks are final now
		return after, nil
	}
	return before, nil
}

// Discard implements backends.Stage.
func (st *stage) Discard(context.Context) error {
	_, err := st.end()
	return onImage("discard", st.spec.ID, err)
}

// end discards the stage and tells what it held. Of one that is committed or discarded it tells nothing.
func (st *stage) end() (held int64, err error) {
	if st.life.Enter() != rawfile.Writing {
		return 0, nil
	}
	held = st.HeldBytes()
	err = st.draft.Load().Discard()
	st.leave(rawfile.Discarded)
	return held, err
}
