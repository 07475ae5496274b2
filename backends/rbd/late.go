//go:build ceph

package rbd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// A process that was stopped, or whose machine was, has its image-volume removed by another host meanwhile: the OSDs do not
// know it as a watcher any more. It goes on where it was, and what it writes before it notices makes data objects anew, of
// an image that is gone. RBD knows of no such objects, and nothing lists them; so who has written them removes them. A process
// that is killed before it has done that leaves them for good.

// dataPlace is where the data objects of an image lie.
type dataPlace struct {
	pool   string
	prefix string // of their names
	bytes  int64  // of the image in each
}

// placeOf is an open image's. It asks no OSD.
func placeOf(w *work, image *rbd.Image) (dataPlace, error) {
	info, err := image.Stat()
	if err != nil {
		return dataPlace{}, err
	}
	id, err := image.GetDataPoolID()
	if err != nil {
		return dataPlace{}, err
	}
	pool, err := w.conn.GetPoolByID(id)
	return dataPlace{pool: pool, prefix: info.Block_name_prefix, bytes: int64(info.Obj_size)}, err
}

// objectsOf are the names of the objects with a piece of the image.
func (p dataPlace) objectsOf(number int64) []string {
	var all []string
	for at := number * piece / p.bytes; at*p.bytes < (number+1)*piece; at++ {
		all = append(all, fmt.Sprintf("%s.%016x", p.prefix, at))
	}
	return all
}

// endLate removes what was written after somebody else had removed the image, or while somebody does, if anybody has. The image
// is being closed and its turn held alone. What cannot be done now, as while the image is still being written, is done once it
// can: nobody else would. It costs two operations where nobody has, and one for each object written where somebody has.
func (st *imageStage) endLate(w *work) {
	st.handle.gone(w.ctx)
	if done, err := st.removeLate(w); err != nil || !done {
		st.b.keepRemoving(st)
	}
}

// removeLate tells whether nothing of it is left, or can come any more: not while something is being written, since the image may
// be gone before that is. An image that somebody else is about to remove loses its objects before its header: what is written in
// between stays, so that what was written is removed again once that is gone.
func (st *imageStage) removeLate(w *work) (done bool, err error) {
	l, err := locate(w.images, st.indexed)
	if err == nil {
		return st.handle.isClosed() && !l.record.Retired && !l.trashed, nil
	}
	if !errors.Is(err, backends.ErrNotExist) {
		return false, err
	}
	if _, err := w.images.Stat(headerObject + st.RBDID); !is(err, syscall.ENOENT) {
		return err == nil, err // it is somebody else's now
	}
	if !st.handle.isClosed() {
		return false, fmt.Errorf("image %s, which is gone, is still being written: %w", st.RBDID, backends.ErrUnavailable)
	}
	data, err := w.pool(st.b.config, st.data.pool)
	if err != nil {
		return false, err
	}
	defer data.Destroy()
	w.mayTake(removalTimeouts * st.b.config.Timeout)
	return true, st.removeObjects(data)
}

// betweenRemovals is the pause between two tries to remove what was written late: the first, and the longest.
const betweenRemovals, longestBetween = 100 * time.Millisecond, time.Minute

// keepRemoving tries to remove what was written late until nothing of it is left, or the backend is closed.
func (b *Backend) keepRemoving(st *imageStage) {
	ctx, left := b.untilClosed()
	if left == nil {
		return
	}
	go func() {
		defer left()
		st.handle.gone(ctx)
		for pause := betweenRemovals; ; pause = min(2*pause, longestBetween) {
			done, err := do(ctx, b, func(w *work) (bool, error) {
				leave, err := b.images.alone(w.ctx, string(st.ID))
				if err != nil {
					return false, err
				}
				defer leave()
				return st.removeLate(w)
			})
			if err == nil && done {
				return
			}
			if err != nil && pause == betweenRemovals && b.config.Log != nil { // once
				b.config.Log.WithField("backend", b.config.Name).WithError(err).Warnf("what image-volume %s wrote after it was removed is not removed yet; trying again", st.ID)
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	}()
}

// untilClosed is for work in the background, which Close ends and waits for; left is to be called at its end, and nil where the
// backend is closed already.
func (b *Backend) untilClosed() (ctx context.Context, left func()) {
	if b.enter() != nil {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-b.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); b.running.Done() }
}

func (st *imageStage) removeObjects(data *rados.IOContext) error {
	var errs []error
	for some := range slices.Chunk(st.sent(), atOnce) {
		for _, r := range together(some, func(number int64) (struct{}, error) {
			var errs []error
			for _, object := range st.data.objectsOf(number) {
				errs = append(errs, ignore(data.Delete(object), syscall.ENOENT))
			}
			return struct{}{}, errors.Join(errs...)
		}) {
			errs = append(errs, r.err)
		}
	}
	return errors.Join(errs...)
}
